# bash completion of trainer
_trainer() {
    local line=${COMP_LINE:0:COMP_POINT} word key
    word=${line##*[ ]}
    key=${word%%=*}
    local commands="check show eval predict help train" options="--augment --flat --gradient --index --input --json --output --params --show --split --version" keys="run.name run.output run.seed run.resume run.log run.overwrite data.format data.dir data.train data.test data.target data.columns data.exclude data.validation data.stratify data.normalize data.memory data.layout data.classes data.class_weights data.limit model.layers model.init model.init_weight model.init_bias model.init_file model.init_partial model.freeze loss.name loss.label_smoothing loss.delta optimizer.name optimizer.lr optimizer.momentum optimizer.nesterov optimizer.weight_decay optimizer.decay_all optimizer.beta1 optimizer.beta2 optimizer.eps optimizer.alpha optimizer.trust optimizer.clip_norm optimizer.schedule optimizer.warmup optimizer.min_lr optimizer.step_epochs optimizer.milestones optimizer.step_gamma optimizer.power optimizer.pct_start optimizer.div_factor optimizer.final_momentum augment.shift augment.rotate augment.scale augment.shear augment.flip augment.elastic augment.elastic_sigma augment.erase train.epochs train.batch_size train.shuffle train.drop_last train.log_every train.log_from train.quiet train.eval_every train.patience train.max_steps train.max_time train.ema train.zero_grad checkpoint.every checkpoint.every_steps checkpoint.keep checkpoint.retries checkpoint.best metrics.every metrics.flush parallel.threads parallel.kernels parallel.allreduce parallel.block parallel.overlap parallel.timeout"
    COMPREPLY=()
    if [[ $word == *=* ]]; then
        local values=
        case $key in
            run.resume) values="auto never" ;;
            run.log) values="true false" ;;
            run.overwrite) values="true false" ;;
            data.format) values="auto idx csv hdf5 npy" ;;
            data.stratify) values="true false" ;;
            data.normalize) values="unit standardize none" ;;
            data.memory) values="auto copy map" ;;
            data.layout) values="auto channels_first channels_last" ;;
            model.init) values="torch he xavier constant file" ;;
            model.init_partial) values="true false" ;;
            loss.name) values="cross_entropy mse mae huber bce" ;;
            optimizer.name) values="sgd adam adamw rmsprop adagrad lion lars lamb" ;;
            optimizer.nesterov) values="true false" ;;
            optimizer.decay_all) values="true false" ;;
            optimizer.schedule) values="constant step multistep exponential linear polynomial cosine onecycle" ;;
            train.shuffle) values="true false" ;;
            train.drop_last) values="true false" ;;
            train.quiet) values="true false" ;;
            train.zero_grad) values="true false" ;;
            checkpoint.every) values="auto whole" ;;
            checkpoint.best) values="auto none train_loss train_accuracy val_loss val_accuracy test_loss test_accuracy val_r2 val_mae test_r2 test_mae" ;;
            parallel.threads) values="auto whole" ;;
            parallel.kernels) values="auto avx512 avx2 portable" ;;
            parallel.allreduce) values="tree mpi" ;;
            parallel.overlap) values="auto on off" ;;
        esac
        local value=${word#*=}
        if [[ $values ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$values" -- "$value")
        else
            mapfile -t COMPREPLY < <(compgen -f -- "$value")
        fi
        # readline completes what is behind the last of its own word breaks
        [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("${COMPREPLY[@]/#/$key=}")
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
    elif ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word"; compgen -f -- "$word")
    elif [[ ${COMP_WORDS[1]} == help ]]; then
        mapfile -t COMPREPLY < <(compgen -W "run data model loss optimizer augment train checkpoint metrics parallel $keys" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$keys" -S = -- "$word"; compgen -f -- "$word")
        [[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace
    fi
}
complete -o filenames -F _trainer trainer
