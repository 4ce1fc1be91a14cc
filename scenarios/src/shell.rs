//! The shell of Longhorn's images, as far as their manifests use it: lists of simple commands joined by `;` and `&&`, `if LIST; then LIST; fi`,
//! `test $(LIST; echo $?) -eq 0`, `trap '...' EXIT`, and the commands diff, `[`, cp, rm, ls, nc, echo, sleep. Anything else is run as a
//! program.
//!
//! Redirections are dropped: nobody reads what these scripts print. A script ends with the status of its last command, and runs its trap.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use host::process::{Command, args, print, print_error, terminated};

/// The main of `sh` and `bash`: runs the script that follows `-c`.
pub async fn main() -> i32 {
    let arguments = args();
    let script = arguments.iter().position(|argument| argument == "-c").and_then(|index| arguments.get(index + 1));
    let Some(script) = script else { return terminated().map(|()| 143).await };
    let mut shell = Shell { status: 0, on_exit: String::new() };
    let status = tokio::select! { biased;
        () = terminated() => 143,
        () = shell.run(script) => shell.status,
    };
    let on_exit = std::mem::take(&mut shell.on_exit);
    shell.run(&on_exit).await;
    status
}

struct Shell {
    status: i32,
    on_exit: String,
}

/// A script cut into its commands, each with the operator before it.
fn split(script: &str) -> Vec<(bool, String)> {
    let (mut parts, mut current, mut quote, mut and) = (Vec::new(), String::new(), None, false);
    let mut characters = script.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, ';') => {
                parts.push((and, std::mem::take(&mut current)));
                and = false;
                continue;
            }
            (None, '&') if characters.peek() == Some(&'&') => {
                characters.next();
                parts.push((and, std::mem::take(&mut current)));
                and = true;
                continue;
            }
            _ => {}
        }
        current.push(character);
    }
    parts.push((and, current));
    parts.into_iter().map(|(and, text)| (and, text.trim().to_owned())).filter(|(_, text)| !text.is_empty()).collect()
}

/// The words of a command, without quotes and redirections.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut current, mut quote) = (Vec::new(), String::new(), None);
    for character in command.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, ' ') => words.extend(Some(std::mem::take(&mut current)).filter(|word| !word.is_empty())),
            _ => current.push(character),
        }
    }
    words.extend(Some(current).filter(|word| !word.is_empty()));
    let redirection = words.iter().position(|word| word.contains('>'));
    words.truncate(redirection.unwrap_or(words.len()));
    words
}

impl Shell {
    fn run<'a>(&'a mut self, script: &'a str) -> BoxFuture<'a, ()> {
        async move {
            // Whether the branch that stands now is taken: the innermost `if` that is not.
            let mut skipping = false;
            // The status of the list itself is what is asked for.
            let tested = script.strip_prefix("test $(").and_then(|rest| rest.strip_suffix("; echo $?) -eq 0"));
            for (and, text) in split(tested.unwrap_or(script)) {
                let mut text = text.as_str();
                if text == "fi" {
                    // An `if` whose branch was not taken has succeeded.
                    self.status = if std::mem::take(&mut skipping) { 0 } else { self.status };
                    continue;
                }
                if let Some(branch) = text.strip_prefix("then ") {
                    skipping = self.status != 0;
                    text = branch;
                }
                text = text.strip_prefix("if ").unwrap_or(text);
                if skipping || (and && self.status != 0) {
                    continue;
                }
                self.status = self.command(&words(text)).await;
            }
        }
        .boxed()
    }

    async fn command(&mut self, words: &[String]) -> i32 {
        let texts: Vec<&str> = words.iter().map(String::as_str).collect();
        match texts.as_slice() {
            [] => 0,
            ["diff", left, right] => match (host::fs::read(left).await, host::fs::read(right).await) {
                (Ok(left), Ok(right)) => i32::from(left != right),
                _ => 2,
            },
            ["[", "$?", "-ne", "0", "]"] => i32::from(self.status == 0),
            // How many processes of a name there are. What spdk_tgt is, is a part of the process that is probed.
            ["[", count, ..] if count.starts_with("$(ps") => 0,
            ["nc", "-zv", host, port] => connect(host, port).await,
            ["cp", "-p", from, to] => copy(from, to).await,
            ["rm", pattern] => remove(pattern).await,
            ["ls", path] => i32::from(!host::fs::exists(path).await.unwrap_or(false)) * 2,
            ["echo", rest @ ..] => {
                print(&format!("{}\n", rest.join(" ")));
                0
            }
            ["trap", commands, "EXIT"] => {
                self.on_exit = (*commands).to_owned();
                0
            }
            ["sleep", "infinity"] => std::future::pending().await,
            [program, rest @ ..] => match Command::new(*program).args(rest.iter().copied()).output().await {
                Ok(output) => {
                    print(&String::from_utf8_lossy(&output.stdout));
                    print_error(&String::from_utf8_lossy(&output.stderr));
                    output.status.code
                }
                Err(error) => {
                    print_error(&format!("sh: {program}: {error}\n"));
                    127
                }
            },
        }
    }
}

/// Whether somebody listens there.
async fn connect(host: &str, port: &str) -> i32 {
    let connected = async {
        let addresses = host::net::lookup(&format!("{host}:{port}")).await?;
        let address = addresses.first().copied().ok_or(std::io::ErrorKind::NotFound)?;
        host::net::TcpStream::connect(address).await
    };
    i32::from(connected.await.is_err())
}

async fn copy(from: &str, to: &str) -> i32 {
    let name = from.rsplit('/').next().unwrap_or(from);
    let target = if to.ends_with('/') { format!("{to}{name}") } else { to.to_owned() };
    let copied = async {
        let content = host::fs::read(from).await?;
        host::fs::write(&target, &content).await
    };
    match copied.await {
        Ok(()) => 0,
        Err(error) => {
            print_error(&format!("cp: {from} to {target}: {error}\n"));
            1
        }
    }
}

/// Removes a file, or with a final `*` all files of the directory that begin so.
async fn remove(pattern: &str) -> i32 {
    let Some(prefix) = pattern.strip_suffix('*') else {
        return i32::from(host::fs::remove_file(pattern).await.is_err());
    };
    let (directory, start) = prefix.rsplit_once('/').unwrap_or((".", prefix));
    for entry in host::fs::read_dir(directory).await.unwrap_or_default() {
        if entry.name.starts_with(start) {
            let _ = host::fs::remove_file(&format!("{directory}/{}", entry.name)).await;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a script in a folder of the real world; `FOLDER` in it stands for that folder.
    fn status_of(folder: &std::path::Path, script: &str) -> i32 {
        let script = script.replace("FOLDER", folder.to_str().unwrap());
        host::real::block_on(async {
            let mut shell = Shell { status: 0, on_exit: String::new() };
            shell.run(&script).await;
            let (status, on_exit) = (shell.status, std::mem::take(&mut shell.on_exit));
            shell.run(&on_exit).await;
            status
        })
    }

    #[test]
    fn the_engine_images_script_installs_and_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("longhorn"), "binary").unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let installed = folder.path().join("data/longhorn");
        let install = "diff FOLDER/longhorn FOLDER/data/longhorn > /dev/null 2>&1; if [ $? -ne 0 ]; then cp -p FOLDER/longhorn FOLDER/data/ && \
                       echo installed; fi && ls FOLDER/data/longhorn";
        assert_eq!(status_of(folder.path(), install), 0);
        assert_eq!(std::fs::read(&installed).unwrap(), b"binary");
        assert_eq!(status_of(folder.path(), install), 0, "and again, when it is there");
        assert_eq!(
            status_of(
                folder.path(),
                "trap 'rm FOLDER/data/longhorn* && echo cleaned up' EXIT && ls FOLDER/data/longhorn"
            ),
            0
        );
        assert!(!installed.exists());
        assert_eq!(status_of(folder.path(), "ls FOLDER/data/longhorn && echo there"), 2);
    }

    #[test]
    fn a_liveness_probe_fails_at_the_first_closed_port() {
        let nobody_listens =
            "test $(nc -zv localhost 1 > /dev/null 2>&1 && nc -zv localhost 1 > /dev/null 2>&1; echo $?) -eq 0";
        assert_eq!(status_of(std::path::Path::new("/tmp"), nobody_listens), 1);
        let runs =
            "test $([ $(ps aux | grep 'spdk_tgt' | grep -v 'grep' | grep -v 'tee' | wc -l) != 0 ]; echo $?) -eq 0";
        assert_eq!(status_of(std::path::Path::new("/tmp"), runs), 0);
    }

    #[test]
    fn a_missing_program_is_127() {
        assert_eq!(status_of(std::path::Path::new("/tmp"), "/no/such/program version && echo never"), 127);
    }
}
