//! The games' own programs on a screen that nobody sees, driven as by somebody at keyboard and mouse.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::ns::Namespace;
use crate::ns::command::{self, Finished, wait_for};
use crate::ns::games::Game;
use crate::ns::program::Process;

/// How long a program may take to show its window: everything is drawn by the processor.
const WINDOW_LIMIT: Duration = Duration::from_secs(60);

/// How long one gesture may take.
const GESTURE_LIMIT: Duration = Duration::from_secs(20);

/// Programs see a key or button only when they draw.
const BEAT: Duration = Duration::from_millis(500);

/// How long menus, and answers to searches, take on a busy machine.
const WHILE: Duration = Duration::from_secs(4);

/// A screen.
#[derive(Debug)]
pub struct Screen {
    number: u16,
    _process: Process,
}

impl Screen {
    /// Starts an X server without a screen.
    ///
    /// # Errors
    /// The program is missing or does not come up.
    pub fn start(directory: &Path) -> Result<Self> {
        // Whatever others have, and not for long.
        let number = (70..200)
            .find(|number| !Path::new(&format!("/tmp/.X11-unix/X{number}")).exists())
            .context("no screen is free")?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "Xvfb", &format!(":{number}")]);
        command.args(["-screen", "0", "1024x768x24", "-nolisten", "tcp"]);
        let mut process = Process::spawn(command, &format!("screen{number}"), directory)?;
        wait_for("the screen", GESTURE_LIMIT, || {
            process.ensure_running()?;
            Ok(Path::new(&format!("/tmp/.X11-unix/X{number}")).exists().then_some(()))
        })?;
        Ok(Self {
            number,
            _process: process,
        })
    }

    fn tool(&self, program: &str, words: &[&str]) -> Result<Finished> {
        let mut command = Command::new(program);
        command.env("DISPLAY", format!(":{}", self.number)).args(words);
        command::finish(command, GESTURE_LIMIT, None)?.success()
    }

    /// Writes what is seen to a file.
    ///
    /// # Errors
    /// The program is missing or fails.
    pub fn picture(&self, file: &Path) -> Result<()> {
        let file = file.to_str().context("a path in UTF-8")?;
        self.tool("import", &["-window", "root", file])?;
        Ok(())
    }
}

/// A game's own program, alone on its screen.
#[derive(Debug)]
pub struct Player<'lab> {
    game: Game,
    screen: &'lab Screen,
    window: String,
    pictures: PathBuf,
    _process: Process,
}

impl<'lab> Player<'lab> {
    /// Starts it in a namespace, with a home of its own, and waits for its window. Pictures go to `pictures`.
    ///
    /// # Errors
    /// The program is missing or shows nothing.
    pub fn start(
        game: Game,
        host: &Namespace,
        screen: &'lab Screen,
        directory: &Path,
        pictures: &Path,
    ) -> Result<Self> {
        let name = format!("{}-player", game.name());
        let home = directory.join(&name);
        fs::create_dir_all(&home)?;
        let (program, arguments, title): (_, &[&str], _) = match game {
            Game::Teeworlds => ("/usr/games/teeworlds", &TEEWORLDS, "Teeworlds"),
            Game::OpenTtd => ("/usr/games/openttd", &OPENTTD, "OpenTTD"),
            Game::Quake3 => ("/usr/games/openarena", &OPENARENA, "OpenArena"),
            Game::Freeciv => anyhow::bail!("Freeciv's own program is not driven here"),
        };
        if game == Game::Teeworlds {
            let settings = home.join(".local/share/teeworlds");
            fs::create_dir_all(&settings)?;
            fs::write(settings.join("ui_settings.json"), TEEWORLDS_LISTS)?;
        }
        let mut command = host.command(program);
        command
            .args(arguments)
            .env("HOME", &home)
            .env("XDG_RUNTIME_DIR", &home)
            .env("DISPLAY", format!(":{}", screen.number))
            .env("SDL_AUDIODRIVER", "dummy")
            .env("SDL_VIDEODRIVER", "x11")
            .env("LIBGL_ALWAYS_SOFTWARE", "1");
        let mut process = Process::spawn(command, &name, directory)?;
        let window = wait_for(&format!("the window of {program}"), WINDOW_LIMIT, || {
            process.ensure_running()?;
            let found = screen
                .tool("xdotool", &["search", "--name", title])
                .or_else(|_| screen.tool("xdotool", &["search", "--onlyvisible", "--class", "."]))?;
            Ok(found.stdout.lines().next().map(str::to_owned))
        })?;
        // From the window to the menu.
        thread::sleep(WHILE * 3);
        screen.tool("xdotool", &["windowfocus", &window])?;
        Ok(Self {
            game,
            screen,
            window,
            pictures: pictures.to_owned(),
            _process: process,
        })
    }

    /// Goes to the list of servers on the LAN, which has the program search, and joins the first that is listed.
    ///
    /// # Errors
    /// A gesture fails. Whether there was a server is not seen here.
    pub fn join_first_of_lan(&self) -> Result<()> {
        match self.game {
            Game::Teeworlds => {
                self.key("p")?;
                thread::sleep(WHILE);
                // Again, as the first search may come before the network is there.
                self.key("F5")?;
                thread::sleep(WHILE);
                self.key("Down")?;
                self.picture("list")?;
                self.key("Return")?;
            }
            Game::OpenTtd => {
                let (multiplayer, name, search) = ((478, 247), (700, 30), (239, 574));
                let (first, join) = ((110, 62), (620, 550));
                self.click(multiplayer)?;
                self.click(name)?;
                self.screen.tool("xdotool", &["type", "--delay", "100", "farlan"])?;
                self.click(search)?;
                thread::sleep(WHILE);
                self.click(first)?;
                self.picture("list")?;
                self.click(join)?;
            }
            Game::Quake3 => {
                // "Multiplayer", then "accept" of what is asked once.
                self.key("Down")?;
                self.key("Return")?;
                thread::sleep(WHILE);
                self.key("Return")?;
                thread::sleep(WHILE);
                self.picture("list")?;
                // From "back" to "fight".
                for _ in 0..4 {
                    self.key("Down")?;
                }
                self.key("Return")?;
            }
            Game::Freeciv => {}
        }
        Ok(())
    }

    /// Writes what is seen to a file.
    ///
    /// # Errors
    /// The program is missing or fails.
    pub fn picture(&self, what: &str) -> Result<()> {
        let file = self.pictures.join(format!("{}-{what}.png", self.game.name()));
        self.screen.picture(&file)
    }

    fn key(&self, key: &str) -> Result<()> {
        self.screen.tool("xdotool", &["key", key])?;
        thread::sleep(BEAT);
        Ok(())
    }

    fn press(&self) -> Result<()> {
        thread::sleep(BEAT);
        self.screen.tool("xdotool", &["mousedown", "1"])?;
        thread::sleep(BEAT);
        self.screen.tool("xdotool", &["mouseup", "1"])?;
        thread::sleep(BEAT * 2);
        Ok(())
    }

    fn click(&self, (right, down): (u16, u16)) -> Result<()> {
        let (right, down) = (right.to_string(), down.to_string());
        let words = ["mousemove", "--window", &self.window, &right, &down];
        self.screen.tool("xdotool", &words)?;
        self.press()
    }
}

/// The programs' arguments, most of them for a window of 800 by 600 without sound.
const TEEWORLDS: [&str; 6] = [
    "gfx_screen_width 800",
    "gfx_screen_height 600",
    "gfx_fullscreen 0",
    "snd_enable 0",
    "cl_show_welcome 0",
    // The list of the LAN.
    "ui_browser_page 6",
];
/// Its list of all servers, unfolded.
const TEEWORLDS_LISTS: &str = r#"{"settings": {"sidebar_active": 1, "sidebar_tab": 0, "filters": [0, 0]},
"filter": [{"All": {"type": 1, "settings": {"filter_hash": 2060, "filter_gametype": [], "filter_ping": 999,
"filter_serverlevel": 0, "filter_address": "", "filter_country": -1}}}]}"#;

const OPENTTD: [&str; 8] = ["-v", "sdl", "-r", "800x600", "-s", "null", "-m", "null"];
const OPENARENA: [&str; 15] = [
    "+set",
    "r_fullscreen",
    "0",
    "+set",
    "r_mode",
    "3",
    "+set",
    "s_initsound",
    "0",
    "+set",
    "com_introplayed",
    "1",
    // The list of the LAN.
    "+set",
    "ui_browserMaster",
    "0",
];

/// Checks that the programs are there that only this needs.
///
/// # Errors
/// One is missing; the message names its Debian package.
pub fn check() -> Result<()> {
    const PACKAGES: [(&str, &str); 6] = [
        ("/usr/bin/Xvfb", "xvfb"),
        ("/usr/bin/xdotool", "xdotool"),
        ("/usr/bin/import", "imagemagick"),
        ("/usr/games/teeworlds", "teeworlds"),
        ("/usr/games/openttd", "openttd"),
        ("/usr/games/openarena", "openarena"),
    ];
    for (program, package) in PACKAGES {
        ensure!(
            Path::new(program).exists(),
            "missing: {program} (Debian package {package}): run scripts/games, which installs it"
        );
    }
    Ok(())
}
