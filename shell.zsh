#compdef trainer
# zsh completion of trainer
local -a commands=(check show eval predict help train) options=(--augment --flat --gradient --index --input --json --output --params --show --split --version) keys=(run.name run.output run.seed run.resume run.log run.overwrite data.format data.dir data.train data.test data.target data.columns data.exclude data.validation data.stratify data.normalize data.memory data.layout data.classes data.class_weights data.limit model.layers model.init model.init_weight model.init_bias model.init_file model.init_partial model.freeze loss.name loss.label_smoothing loss.delta optimizer.name optimizer.lr optimizer.momentum optimizer.nesterov optimizer.weight_decay optimizer.decay_all optimizer.beta1 optimizer.beta2 optimizer.eps optimizer.alpha optimizer.trust optimizer.clip_norm optimizer.schedule optimizer.warmup optimizer.min_lr optimizer.step_epochs optimizer.milestones optimizer.step_gamma optimizer.power optimizer.pct_start optimizer.div_factor optimizer.final_momentum augment.shift augment.rotate augment.scale augment.shear augment.flip augment.elastic augment.elastic_sigma augment.erase train.epochs train.batch_size train.shuffle train.drop_last train.log_every train.log_from train.quiet train.eval_every train.patience train.max_steps train.max_time train.ema train.zero_grad checkpoint.every checkpoint.every_steps checkpoint.keep checkpoint.retries checkpoint.best metrics.every metrics.flush parallel.threads parallel.kernels parallel.allreduce parallel.block parallel.overlap parallel.timeout) sections=(run data model loss optimizer augment train checkpoint metrics parallel)
local -A values=(
    run.resume "auto never"
    run.log "true false"
    run.overwrite "true false"
    data.format "auto idx csv hdf5 npy"
    data.stratify "true false"
    data.normalize "unit standardize none"
    data.memory "auto copy map"
    data.layout "auto channels_first channels_last"
    model.init "torch he xavier constant file"
    model.init_partial "true false"
    loss.name "cross_entropy mse mae huber bce"
    optimizer.name "sgd adam adamw rmsprop adagrad lion lars lamb"
    optimizer.nesterov "true false"
    optimizer.decay_all "true false"
    optimizer.schedule "constant step multistep exponential linear polynomial cosine onecycle"
    train.shuffle "true false"
    train.drop_last "true false"
    train.quiet "true false"
    train.zero_grad "true false"
    checkpoint.every "auto whole"
    checkpoint.best "auto none train_loss train_accuracy val_loss val_accuracy test_loss test_accuracy val_r2 val_mae test_r2 test_mae"
    parallel.threads "auto whole"
    parallel.kernels "auto avx512 avx2 portable"
    parallel.allreduce "tree mpi"
    parallel.overlap "auto on off"
)
if [[ $PREFIX == *=* ]]; then
    local key=${PREFIX%%=*}
    compset -P '*='
    if [[ -n ${values[$key]} ]]; then
        compadd -- ${=values[$key]}
    else
        _files
    fi
elif [[ $PREFIX == -* ]]; then
    compadd -- $options
elif ((CURRENT == 2)); then
    compadd -- $commands
    _files
elif [[ ${words[2]} == help ]]; then
    compadd -- $sections $keys
else
    compadd -S = -- $keys
    _files
fi
