#!/usr/bin/env python3
"""What a shell wants of trainer, made from what `trainer help` prints, that is, from its table of keys.

    scripts/shell.py bash     # completion of commands, options, sections, keys and values
    scripts/shell.py zsh
    scripts/shell.py man      # trainer(1)

`make install` puts them into their places, `make man` writes build/trainer.1."""

import os
import re
import subprocess
import sys
from pathlib import Path

TRAINER = os.environ.get("TRAINER", Path(__file__).resolve().parent.parent / "trainer")


class Help:
    """usage: its lines; about: the paragraph above the keys; keys: [(section, its sentence, [(name, default,
    type and range, what it does)])]"""

    def __init__(self):
        text = subprocess.run([TRAINER, "help"], text=True, capture_output=True, check=True).stdout
        usage, rest = text.split("\n\n", 1)
        self.usage = usage.removeprefix("usage: ").splitlines()
        head, *sections = re.split(r"^\[(\w+)\]  ", rest, flags=re.M)
        self.about = head.rsplit("\n  key ", 1)[0].strip()
        self.keys = [(name, *self.section(body)) for name, body in zip(sections[::2], sections[1::2])]
        self.commands = re.findall(r"^ +trainer (\w+)", usage, re.M) + ["train"]
        self.options = sorted(set(re.findall(r"--\w+", usage)))

    @staticmethod
    def section(text):
        about, *lines = text.rstrip().splitlines()
        keys = []
        for line in lines:
            name = re.match(r"  (\S+) +(.+?)  +(\S.*)$", line) if line[:3].strip() else None
            if name:
                keys.append([name[1], name[2], [name[3]]])
            elif line.strip():
                keys[-1][2].append(line.strip())
        for _, _, lines in keys:
            while lines[0].endswith("|"):
                lines[:2] = [" ".join(lines[:2])]
        return about, keys

    def values(self):
        """{section.key: its choices}"""
        found = {}
        for section, _, keys in self.keys:
            for name, _, lines in keys:
                choices = re.match(r"[a-z_0-9]+( \| [a-z_0-9]+)+", " ".join(lines))
                found[f"{section}.{name}"] = choices[0].split(" | ") if choices else []
        return found


BASH = r"""# bash completion of trainer
_trainer() {
    local line=${COMP_LINE:0:COMP_POINT} word key
    word=${line##*[ ]}
    key=${word%%=*}
    local commands="@commands@" options="@options@" keys="@keys@"
    COMPREPLY=()
    if [[ $word == *=* ]]; then
        local values=
        case $key in
@cases@
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
        mapfile -t COMPREPLY < <(compgen -W "@sections@ $keys" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$keys" -S = -- "$word"; compgen -f -- "$word")
        [[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace
    fi
}
complete -o filenames -F _trainer trainer"""

ZSH = r"""#compdef trainer
# zsh completion of trainer
local -a commands=(@commands@) options=(@options@) keys=(@keys@) sections=(@sections@)
local -A values=(
@cases@
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
fi"""


def completion(found, template, case):
    values = found.values()
    for mark, words in {"commands": found.commands, "options": found.options, "keys": values,
                        "sections": [name for name, *_ in found.keys]}.items():
        template = template.replace(f"@{mark}@", " ".join(words))
    return template.replace("@cases@", "\n".join(case.format(k, " ".join(v)) for k, v in values.items() if v))


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(['.])", r"\\&\1", text, flags=re.M)


def man(found):
    version = subprocess.run([TRAINER, "--version"], text=True, capture_output=True, check=True).stdout.split("\n")[0]
    codes = next(line for line in re.split(r"\n\n", found.about) if line.startswith("On many")).split("Exit codes:")
    lines = [f'.TH TRAINER 1 "" "{roff(version)}" "User Commands"', ".SH NAME",
             "trainer \\- trains neural networks on many cores and many machines", ".SH SYNOPSIS", ".nf",
             *(roff(re.sub(r"^       ", "", line)) for line in found.usage), ".fi", ".PP", roff(codes[0].strip()),
             ".SH CONFIG", *(roff(part) + "\n.PP" for part in re.split(r"\n\n", found.about)
                             if not part.startswith("On many"))]
    for section, about, keys in found.keys:
        lines += [f".SS [{section}]", roff(about)]
        for name, default, text in keys:
            lines += [".TP", f".B {roff(name)}", f"({roff(text[0])}; default: {roff(default)})", ".br",
                      roff("\n".join(text[1:]))]
    lines += [".SH EXIT STATUS", roff(codes[1].strip()), ".SH FILES", ".nf",
              "RUN/config.ini          the config, every default filled in",
              "RUN/metrics.h5          a row a step, a row an epoch",
              "RUN/checkpoints/*.h5    parameters, optimizer, position; last.h5 and best.h5 are links", ".fi"]
    return "\n".join(lines)


def main():
    kinds = {"bash": lambda found: completion(found, BASH, '            {0}) values="{1}" ;;'),
             "zsh": lambda found: completion(found, ZSH, '    {0} "{1}"'), "man": man}
    if len(sys.argv) != 2 or sys.argv[1] not in kinds:
        sys.exit(f"{__doc__}\n\ngive one of: {' '.join(kinds)}")
    try:
        print(kinds[sys.argv[1]](Help()))
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"shell.py: {TRAINER} does not say its keys: {error}")


if __name__ == "__main__":
    main()
