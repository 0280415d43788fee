//! farlan itself, in several builds, ways and settings.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Builds, End, Programs, System, Tunnel, write};
use crate::bench::lab::{Rig, Shape};
use crate::ns::command::{self, wait_for};
use crate::ns::pair::PeerView;
use crate::ns::program::released;
use crate::ns::trio::JOIN_LIMIT;
use crate::ns::{Node, Supernode};

/// What differs between the systems called `farlan...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// As it is released, over a direct path.
    Released,
    /// Built without encryption, to show what encryption costs.
    Plain,
    /// With the cipher of a processor that has AVX2 and no AVX-512.
    Avx2,
    /// Over the supernode.
    Relay,
    /// The build of an earlier commit.
    Previous,
    /// The build of an earlier commit without encryption.
    PreviousPlain,
    /// With a card that has no offloads.
    NoCardOffload,
    /// Without handing the kernel several datagrams as one.
    NoSegment,
    /// Without being handed several datagrams as one.
    NoGro,
}

/// One variant of farlan with where its programs are.
#[derive(Debug)]
pub(super) struct Farlan {
    variant: Variant,
    builds: Builds,
}

impl Variant {
    pub(super) const ALL: [Self; 9] = [
        Self::Released,
        Self::Avx2,
        Self::Plain,
        Self::Relay,
        Self::Previous,
        Self::PreviousPlain,
        Self::NoCardOffload,
        Self::NoSegment,
        Self::NoGro,
    ];

    /// The value of `FARLAN_SIMD`.
    fn simd(self) -> Option<&'static str> {
        (self == Self::Avx2).then_some("avx2")
    }

    /// The configuration file, where the defaults are not what is measured.
    fn configuration(self) -> Option<&'static str> {
        match self {
            Self::Released | Self::Avx2 | Self::Plain | Self::Relay | Self::Previous | Self::PreviousPlain => None,
            Self::NoCardOffload => Some("[offloads]\ncard = false\n"),
            Self::NoSegment => Some("[offloads]\nsend = false\n"),
            Self::NoGro => Some("[offloads]\nreceive = false\n"),
        }
    }
}

impl Farlan {
    pub(super) fn new(variant: Variant, builds: &Builds) -> Self {
        Self {
            variant,
            builds: builds.clone(),
        }
    }

    fn program(&self, name: &str) -> Result<PathBuf> {
        let directory = match self.variant {
            Variant::Plain => &self.builds.plaintext,
            Variant::Previous => &self.builds.previous,
            Variant::PreviousPlain => &self.builds.previous_plaintext,
            _ => return released(name),
        };
        match directory {
            Some(directory) => Ok(directory.join(name)),
            None if self.variant == Variant::Plain => {
                bail!("not built: there is no feature `plaintext`, or scripts/bench did not build it")
            }
            None if self.variant == Variant::PreviousPlain => {
                bail!("not built: the earlier commit has no feature `plaintext`, or scripts/bench did not build it")
            }
            None => bail!("not built: scripts/bench builds it for --gate"),
        }
    }
}

impl System for Farlan {
    fn name(&self) -> &'static str {
        match self.variant {
            Variant::Released => "farlan",
            Variant::Avx2 => "farlan-avx2",
            Variant::Plain => "farlan-plain",
            Variant::Relay => "farlan-relay",
            Variant::Previous => "farlan-previous",
            Variant::PreviousPlain => "farlan-plain-previous",
            Variant::NoCardOffload => "farlan-no-card-offload",
            Variant::NoSegment => "farlan-no-segment",
            Variant::NoGro => "farlan-no-gro",
        }
    }

    fn settings(&self) -> String {
        let build = match self.variant {
            Variant::Avx2 => "release build, defaults, with FARLAN_SIMD=avx2 in the environment",
            Variant::Plain => "release build with the feature `plaintext`, which encrypts nothing",
            Variant::Previous => "release build of the earlier commit, defaults",
            Variant::PreviousPlain => "release build of the earlier commit with the feature `plaintext`",
            _ => "release build, defaults",
        };
        let path = if self.variant == Variant::Relay {
            "relay"
        } else {
            "direct"
        };
        let configuration = self.variant.configuration().unwrap_or_default();
        let configuration = configuration.split_whitespace().collect::<Vec<_>>().join(" ");
        let with = if configuration.is_empty() { "" } else { " but " };
        format!("{build}{with}{configuration}; path: {path}")
    }

    fn shape(&self) -> Shape {
        match self.variant {
            Variant::Relay => Shape::Relayed,
            _ => Shape::Direct,
        }
    }

    fn version(&self) -> Result<String> {
        let program = self.program("farlan")?;
        ensure!(program.is_file(), "not built: there is no {}", program.display());
        if let Some(name) = self.variant.simd() {
            ensure!(has(name), "this processor has no {name}");
        }
        if let Some(configuration) = self.variant.configuration() {
            check_configuration(&program, configuration)?;
        }
        let mut command = Command::new(&program);
        command.arg("--version");
        let finished = command::finish(command, command::DEFAULT_LIMIT, None)?.success()?;
        Ok(finished.stdout.trim().to_owned())
    }

    fn start(&self, rig: &Rig<'_>) -> Result<Tunnel> {
        let supernode = self.program("farlan-supernode")?;
        let mut supernode = Supernode::start_program(rig.lab, &rig.third, "supernode", supernode)?;
        let node = |index: usize, name: &str| -> Result<Node> {
            let mut node = Node::new(rig.lab, name, &rig.hosts[index], Some(supernode.link()))?;
            node.set_program(self.program("farlan")?);
            node.allow_privileges();
            if let Some(name) = self.variant.simd() {
                node.set_variable("FARLAN_SIMD", name);
            }
            if let Some(configuration) = self.variant.configuration() {
                let file = write(rig.lab.directory(), &format!("{name}.toml"), configuration)?;
                node.set_arguments(&["--config", &file.to_string_lossy()]);
            }
            node.start()?;
            node.wait_registered(JOIN_LIMIT)?;
            Ok(node)
        };
        let (a, b) = (node(0, "a")?, node(1, "b")?);
        b.join(&a.host()?)?;
        let end = |node: &Node| -> Result<End> {
            let network = node.wait_addressed(JOIN_LIMIT)?;
            Ok(End {
                host: Arc::clone(node.namespace()),
                address: network.ipv4.context("no IPv4 address")?,
                card: network.interface,
                daemon: Some(node.pid()?),
            })
        };
        let ends = [end(&a)?, end(&b)?];
        let middle = supernode.process().pid();
        let programs = Programs::Farlan {
            nodes: Box::new([a, b]),
            _supernode: Box::new(supernode),
            path: match self.shape() {
                Shape::Direct => "direct",
                Shape::Relayed => "relay",
            },
        };
        Ok(Tunnel::new(rig, ends, Some(middle), programs))
    }
}

/// Whether the processor has the instructions that `FARLAN_SIMD` calls so.
fn has(name: &str) -> bool {
    #[cfg(target_arch = "x86_64")]
    return farlan_crypto::simd::Isa::all().any(|isa| isa.name() == name);
    #[cfg(not(target_arch = "x86_64"))]
    return name.is_empty();
}

/// Waits until both nodes say that the path to the other is of that kind.
pub(super) fn wait_path(nodes: &[Node; 2], path: &str, limit: Duration) -> Result<()> {
    let [a, b] = nodes;
    wait_for(&format!("both nodes to say {path}"), limit, || {
        let views = [PeerView::of(a, b)?, PeerView::of(b, a)?];
        ensure!(views.iter().all(|view| view.path.as_deref() == Some(path)), "{views:?}");
        Ok(Some(()))
    })
}

/// Asks a program whether it takes a configuration.
fn check_configuration(program: &Path, configuration: &str) -> Result<()> {
    let directory = std::env::temp_dir().join(format!("farlan-lab-{}-check", std::process::id()));
    let file = write(&directory, "farlan.toml", configuration)?;
    let mut command = Command::new(program);
    command.args(["config", "check", "--config"]).arg(&file);
    let finished = command::finish(command, command::DEFAULT_LIMIT, None);
    let _ = std::fs::remove_dir_all(&directory);
    let finished = finished?;
    let line = finished.stderr.trim().lines().next().unwrap_or_default();
    // Where the file is does not matter to anybody.
    let reason = line.rsplit_once("farlan.toml:").map_or(line, |(_, reason)| reason);
    ensure!(finished.code == Some(0), "this build refuses the setting: {reason}");
    Ok(())
}
