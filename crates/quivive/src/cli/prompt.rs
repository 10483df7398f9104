//! What a person is asked: whether they are sure, and passwords, which may come from a pipe too. Never as an argument, which
//! every user of the machine could read.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};

use quivive::domain::Password;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::exit::Exit;
use super::failure::Failure;

/// A line of a password, with room to spare; the policy is stricter.
const MAX_BYTES: usize = 4_096;

/// The new password: the first line of stdin, or typed twice.
pub(super) fn new_password(from_stdin: bool) -> Result<Password, Failure> {
    let typed = if from_stdin {
        line(&mut io::stdin().lock()).map_err(|error| unreadable(&error))?
    } else {
        typed_twice()?
    };
    if typed.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "the password is empty",
            "give it as one line: --password-stdin < file",
        ));
    }
    Password::new(typed.to_string())
        .map_err(|error| Failure::new(Exit::Refused, error.to_string(), "choose a shorter one"))
}

/// Asks whoever sits at the terminal; `without` is what to do where there is none.
pub(super) fn confirm(question: &str, without: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{question} There is no terminal to ask at"),
            without,
        ));
    }
    let mut answer = String::new();
    let asked = write!(io::stderr(), "{question} [y/N] ");
    let read = asked.and_then(|()| io::stdin().read_line(&mut answer));
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    let remedy = "answer y, or add --yes";
    Err(Failure::new(Exit::Refused, "nothing was changed", remedy))
}

fn typed_twice() -> Result<Zeroizing<String>, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "there is no terminal to ask for the password",
            "add --password-stdin and give it as one line on stdin",
        ));
    }
    let tty = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|error| unreadable(&error))?;
    let ask = |question: &str| {
        let silence = Silence::over(&tty)?;
        (&tty).write_all(question.as_bytes())?;
        let answer = line(&mut BufReader::new(&tty));
        drop(silence);
        (&tty).write_all(b"\n")?;
        answer
    };
    let first = ask("New password: ").map_err(|error| unreadable(&error))?;
    let second = ask("The same again: ").map_err(|error| unreadable(&error))?;
    if *first == *second {
        Ok(first)
    } else {
        Err(Failure::new(
            Exit::Refused,
            "the two differ",
            "type it again",
        ))
    }
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new(
        Exit::Io,
        format!("cannot read the password: {error}"),
        "give it as one line on stdin, with --password-stdin",
    )
}

fn line(input: &mut dyn io::BufRead) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES));
    input.take(MAX_BYTES as u64).read_line(&mut text)?;
    let end = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(end);
    Ok(text)
}

/// While it lives, the terminal does not show what is typed.
struct Silence<'t> {
    tty: &'t File,
    before: Termios,
}

impl<'t> Silence<'t> {
    fn over(tty: &'t File) -> io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(tty, OptionalActions::Flush, &silent)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // Nothing can be done when the terminal has gone.
        let _ = tcsetattr(self.tty, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_password_is_one_line_without_its_end() {
        for (given, want) in [
            ("a b \n", "a b "),
            ("x\r\nignored", "x"),
            ("no end", "no end"),
            ("", ""),
        ] {
            assert_eq!(*line(&mut given.as_bytes()).unwrap(), want);
        }
    }
}
