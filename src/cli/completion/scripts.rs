//! The scripts: one walk over the words before the cursor, then what can follow. Pure: nodes in, text out.
//!
//! Each keeps the commands so far in one variable (` gateway status`) and the option whose value comes next in another;
//! together they are the key of a `case`.

use std::fmt::Write as _;

use super::Shell;
use super::words::{Choice, Node, Value};

pub fn script(shell: Shell, nodes: &[Node]) -> String {
    match shell {
        Shell::Bash => bash(nodes),
        Shell::Zsh => zsh(nodes),
        Shell::Fish => fish(nodes),
        Shell::PowerShell => powershell(nodes),
    }
}

/// One word for any of the three POSIX-like shells.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn head(shell: Shell) -> String {
    format!("# Completion of openclaw for {0}. Made by: openclaw completion --shell {0}\n", shell.name())
}

/// Commands that go one step down.
fn steps(nodes: &[Node]) -> Vec<String> {
    nodes.iter().filter(|node| !node.path.is_empty()).map(|node| quoted(&node.path)).collect()
}

/// Spellings of an option: `--message`, `-m`.
fn spellings(option: &Choice) -> impl Iterator<Item = String> {
    std::iter::once(option.long.clone()).chain(option.short.map(|letter| format!("-{letter}")))
}

/// Options behind which a value stands, each with its command before it.
fn takers(nodes: &[Node]) -> Vec<String> {
    let with_value = nodes.iter().flat_map(|node| {
        let options = node.options.iter().filter(|option| option.value.is_some());
        options.flat_map(|option| spellings(option).map(|word| quoted(&format!("{} {word}", node.path))))
    });
    with_value.collect()
}

/// The keys under which the same is offered, e.g. all options that take a file.
fn grouped(nodes: &[Node]) -> Vec<(Value, Vec<String>)> {
    let mut groups: Vec<(Value, Vec<String>)> = Vec::new();
    for node in nodes {
        for option in &node.options {
            let Some(value) = option.value.as_ref().filter(|value| **value != Value::Text) else { continue };
            let keys = spellings(option).map(|word| quoted(&format!("{} {word}", node.path)));
            match groups.iter_mut().find(|(known, _)| known == value) {
                Some((_, known)) => known.extend(keys),
                None => groups.push((value.clone(), keys.collect())),
            }
        }
    }
    groups
}

fn bash(nodes: &[Node]) -> String {
    let mut text = head(Shell::Bash);
    let _ = write!(
        text,
        r#"_openclaw() {{
    local program=${{1/#\~/$HOME}} cur=$2 at= value= word i words= options=
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        if [[ -n $value ]]; then
            # bash splits --option=value at the sign.
            [[ $word == '=' ]] || value=
            continue
        fi
        case "$at $word" in
        {})
            at="$at $word" ;;
        {})
            value=$word ;;
        esac
    done
    [[ $cur == '=' ]] && cur=
    case "$at $value" in
"#,
        steps(nodes).join("|"),
        takers(nodes).join("|")
    );
    for (value, keys) in grouped(nodes) {
        let _ = writeln!(text, "    {})\n        {} ;;", keys.join("|"), bash_value(&value));
    }
    for node in nodes {
        let commands = node.commands.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ");
        let words = match &node.argument {
            None | Some(Value::Text) => format!("words={}", quoted(&commands)),
            Some(Value::Files) => format!("[[ $cur == -* ]] || {{ {}; }}", bash_value(&Value::Files)),
            Some(value) => bash_value(value),
        };
        let options = node.options.iter().flat_map(spellings).collect::<Vec<_>>().join(" ");
        let options = format!("{options} --help").trim().to_owned();
        let _ = writeln!(
            text,
            "    {})\n        {words}\n        options={} ;;",
            quoted(&format!("{} ", node.path)),
            quoted(&options)
        );
    }
    text.push_str(
        r#"    esac
    [[ -z $value && $cur == -* ]] && words=$options
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    # A section of the configuration goes on behind its dot.
    [[ ${COMPREPLY[0]-} == *. ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -F _openclaw openclaw
"#,
    );
    text
}

fn bash_value(value: &Value) -> String {
    match value {
        Value::Text => "words=".into(),
        Value::Words(words) => format!("words={}", quoted(&words.join(" "))),
        Value::Keys => r#"words=$("$program" config schema --complete "$cur" 2>/dev/null)"#.into(),
        Value::Files => {
            "local IFS=$'\\n'; COMPREPLY=($(compgen -f -- \"$cur\")); compopt -o filenames 2>/dev/null; return 0".into()
        }
    }
}

fn zsh(nodes: &[Node]) -> String {
    let mut text = format!("#compdef openclaw\n{}", head(Shell::Zsh));
    let _ = write!(
        text,
        r#"_openclaw() {{
    local at= value= word i
    local -a found options
    for ((i = 2; i < CURRENT; i++)); do
        word=$words[i]
        if [[ -n $value ]]; then
            value=
            continue
        fi
        case "$at $word" in
        ({})
            at="$at $word" ;;
        ({})
            value=$word ;;
        esac
    done
    case "$at $value" in
"#,
        steps(nodes).join("|"),
        takers(nodes).join("|")
    );
    for (value, keys) in grouped(nodes) {
        let _ = writeln!(text, "    ({})\n        {} ;;", keys.join("|"), zsh_value(&value));
    }
    for node in nodes {
        let described = |name: &str, text: &str| quoted(&format!("{name}:{text}"));
        let words = match &node.argument {
            Some(value @ (Value::Words(_) | Value::Keys | Value::Files)) => {
                format!("[[ $PREFIX == -* ]] || {{ {} }}", zsh_value(value))
            }
            None | Some(Value::Text) => {
                let commands: Vec<String> = node.commands.iter().map(|(name, text)| described(name, text)).collect();
                format!("found=({})", commands.join(" "))
            }
        };
        let options: Vec<String> = node
            .options
            .iter()
            .flat_map(|option| spellings(option).map(|word| described(&word, &option.text)))
            .collect();
        let _ = writeln!(
            text,
            "    ({})\n        options=({} '--help:show help')\n        {words} ;;",
            quoted(&format!("{} ", node.path)),
            options.join(" ")
        );
    }
    text.push_str(
        r#"    esac
    [[ -z $value && $PREFIX == -* ]] && found=($options)
    (( $#found )) && _describe openclaw found
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _openclaw "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _openclaw openclaw
fi
"#,
    );
    text
}

fn zsh_value(value: &Value) -> String {
    match value {
        Value::Text => "return".into(),
        Value::Words(words) => format!("found=({}); compadd -a found; return", words.join(" ")),
        // A section ends in a dot and goes on: no blank behind it.
        Value::Keys => r#"found=(${(f)"$(${~words[1]} config schema --complete "$PREFIX" 2>/dev/null)"}); compadd -S '' -a found; return"#.into(),
        Value::Files => "_files; return".into(),
    }
}

fn fish(nodes: &[Node]) -> String {
    let mut text = head(Shell::Fish);
    let _ = write!(
        text,
        r#"function __openclaw_at --description 'whether the commands before the cursor are these'
    set -l at ''
    set -l value ''
    set -l words (commandline -opc)
    set -e words[1]
    for word in $words
        if test -n "$value"
            set value ''
            continue
        end
        switch "$at $word"
            case {}
                set at "$at $word"
            case {}
                set value $word
        end
    end
    test "$at" = "$argv[1]"
end
complete -c openclaw -f
"#,
        steps(nodes).join(" "),
        takers(nodes).join(" ")
    );
    for node in nodes {
        let at = format!("complete -c openclaw -n {}", fish_word(&format!("__openclaw_at '{}'", node.path)));
        for (name, about) in &node.commands {
            let _ = writeln!(text, "{at} -a {name} -d {}", fish_word(about));
        }
        let argument = match &node.argument {
            Some(Value::Words(words)) => format!("-a {}", fish_word(&words.join(" "))),
            Some(Value::Files) => "-F".into(),
            Some(Value::Keys) => "-a '(openclaw config schema --complete (commandline -ct) 2>/dev/null)'".into(),
            None | Some(Value::Text) => String::new(),
        };
        if !argument.is_empty() {
            let _ = writeln!(text, "{at} {argument}");
        }
        for option in &node.options {
            let short = option.short.map_or(String::new(), |letter| format!(" -s {letter}"));
            let value = match &option.value {
                None => String::new(),
                Some(Value::Files) => " -r -F".into(),
                Some(Value::Words(words)) => format!(" -x -a {}", fish_word(&words.join(" "))),
                Some(_) => " -x".into(),
            };
            let long = option.long.trim_start_matches('-');
            let _ = writeln!(text, "{at}{short} -l {long}{value} -d {}", fish_word(&option.text));
        }
        let _ = writeln!(text, "{at} -s h -l help -d 'show help'");
    }
    text
}

/// fish knows `\'` and `\\` inside single quotes.
fn fish_word(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

/// Commands and options by name; values are left to the person.
fn powershell(nodes: &[Node]) -> String {
    let mut text = head(Shell::PowerShell);
    text.push_str(
        "Register-ArgumentCompleter -Native -CommandName openclaw -ScriptBlock {\n    \
         param($wordToComplete, $commandAst, $cursorPosition)\n    $next = @{\n",
    );
    for node in nodes {
        let commands = node.commands.iter().map(|(name, _)| name.clone());
        let words: Vec<String> = commands.chain(node.options.iter().map(|option| option.long.clone())).collect();
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let _ = writeln!(text, "        '{}' = @({})", node.path, words.join(", "));
    }
    text.push_str(
        "    }\n    $at = ''\n    \
         foreach ($element in ($commandAst.CommandElements | Select-Object -Skip 1)) {\n        \
         if ($next.ContainsKey(\"$at $element\")) { $at = \"$at $element\" }\n    }\n    \
         $next[$at] | Where-Object { $_ -like \"$wordToComplete*\" } | ForEach-Object {\n        \
         [System.Management.Automation.CompletionResult]::new($_)\n    }\n}\n",
    );
    text
}
