//! How the proxy is found and how its answers are shown: what every steering command takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{
    Failure,
    client::{Client, Place},
};

/// Where the admin API is unless something else is said.
pub(crate) const USUAL: &str = "http://127.0.0.1:18882";

/// Longer ones are no tokens.
const LONGEST_TOKEN: usize = 8 * 1024;

// What every steering command takes. In a doc comment clap would take it for what each of them is
// about.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "The proxy, and how it is shown")]
pub struct Options {
    /// Where the proxy's admin API is: http://HOST:PORT or unix:PATH
    ///
    /// Without it TIDEGATE_ADMIN says it, and without that it is http://127.0.0.1:18882.
    // The demo has an argument of the same name, and another kind.
    #[arg(
        id = "admin_url",
        long = "admin",
        global = true,
        value_name = "URL",
        display_order = 900
    )]
    pub admin: Option<String>,

    /// A file with the token that the admin API asks for; or the token itself in TIDEGATE_TOKEN
    #[arg(long, global = true, value_name = "FILE", display_order = 901)]
    pub token_file: Option<PathBuf>,

    /// Print the API's own answer, for scripts
    #[arg(long, global = true, display_order = 902)]
    pub json: bool,

    /// Whether to use colours: auto, always or never; NO_COLOR turns them off as well
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        display_order = 903
    )]
    pub color: Colour,
}

/// Whether to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    Always,
    /// On a terminal.
    #[default]
    Auto,
    Never,
}

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub admin: Option<String>,
    pub token: Option<String>,
    pub no_color: bool,
}

impl Options {
    pub(crate) fn client(&self, environment: &Environment) -> Result<Client, Failure> {
        let said = self.admin.as_deref().or(environment.admin.as_deref());
        let place = Place::parse(said.unwrap_or(USUAL)).map_err(Failure::Usage)?;
        Ok(Client::new(place, self.token(environment)?))
    }

    fn token(&self, environment: &Environment) -> Result<Option<String>, Failure> {
        let token = match &self.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| {
                    Failure::Usage(format!("--token-file {}: {error}", path.display()))
                })?;
                Some(text.trim().to_owned())
            }
            None => environment.token.clone().map(|token| token.trim().to_owned()),
        };
        match token {
            Some(token) if token.is_empty() && self.token_file.is_none() => Ok(None),
            Some(token) if !is_token(&token) => Err(Failure::Usage(
                "the token is empty, too long, or holds what no token does".into(),
            )),
            token => Ok(token),
        }
    }
}

impl Environment {
    pub fn of_process() -> Self {
        let read = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self {
            admin: read("TIDEGATE_ADMIN"),
            token: read("TIDEGATE_TOKEN"),
            no_color: read("NO_COLOR").is_some(),
        }
    }
}

fn is_token(text: &str) -> bool {
    (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
