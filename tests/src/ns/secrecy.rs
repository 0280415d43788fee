//! A whole session under the eyes of somebody who records everything, and looks into the programs' memory.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER};
use farlan_crypto::{Identity, Work, secret_file};
use farlan_netconf::Link;

use super::command::wait_for;
use super::eavesdropper::{self, Stolen};
use super::keys::{self, Keys};
use super::pair::Pair;
use super::record::{Data, Record, inner};
use super::topology::{Home, Lab, Nat, OUTSIDE, Wire};

/// What the members tell each other.
const MARKER: &[u8] = b"what nobody else may read 7361";

/// The label of their network.
const LABEL: &str = "capturelabel";

/// How long they talk before the first look.
const TALK: Duration = Duration::from_secs(5);

/// Between two messages of each.
const PACE: Duration = Duration::from_millis(20);

/// The age at which keys are refused and wiped (PROTOCOL.md §6).
const KEYS_END: Duration = Duration::from_secs(180);

/// Beyond that on a busy machine.
const GRACE: Duration = Duration::from_secs(5);

/// How soon after a goodbye the peer knows.
const SOON: Duration = Duration::from_secs(10);

/// Two members whose every datagram is on record.
#[derive(Debug)]
pub struct Watched {
    pair: Pair,
    record: Record,
}

impl Watched {
    /// Builds two homes, records all that comes and goes there, and lets two members join a network.
    ///
    /// # Errors
    /// Anything on the way fails.
    pub fn start(lab: &mut Lab) -> Result<Self> {
        let wire = Wire::for_round_trip(Duration::from_millis(40));
        let homes = [lab.home("a", Nat::Port, wire)?, lab.home("b", Nat::Port, wire)?];
        let mut record = Record::new();
        for home in &homes {
            listen(&mut record, home)?;
        }
        let pair = Pair::in_homes_with(lab, homes, wire, &["--name", LABEL])?;
        Ok(Self { pair, record })
    }

    /// Both send the marker to the other for so long, by UDP.
    fn talk(&self, time: Duration) -> Result<()> {
        let begun = Instant::now();
        let socket = |from: &super::trio::Member| -> Result<UdpSocket> {
            Ok(from
                .host()
                .inside(|| UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0))))??)
        };
        let (a, b) = (&self.pair.a, &self.pair.b);
        let ways = [(socket(a)?, b.ipv4()?), (socket(b)?, a.ipv4()?)];
        while begun.elapsed() < time {
            for (socket, target) in &ways {
                socket.send_to(MARKER, (*target, 4242))?;
            }
            thread::sleep(PACE);
        }
        Ok(())
    }

    /// The data datagrams on record, each once.
    fn data(&self) -> Vec<Data> {
        let datagrams = self.record.datagrams();
        let each: BTreeSet<Data> = datagrams.iter().filter_map(|datagram| Data::parse(datagram)).collect();
        each.into_iter().collect()
    }

    fn pids(&mut self) -> Result<[u32; 3]> {
        let supernode = self.pair.supernode.process().pid();
        Ok([self.pair.a.node.pid()?, self.pair.b.node.pid()?, supernode])
    }

    /// The keys of the session between the two: those that both hold and the supernode does not.
    fn session_keys(&mut self) -> Result<Keys> {
        let data = self.data();
        let [a, b, supernode] = self.pids()?;
        let [mut a, b, supernode] = [
            keys::find(a, &data)?,
            keys::find(b, &data)?,
            keys::find(supernode, &data)?,
        ];
        a.retain(|index, _| b.contains_key(index));
        ensure!(!a.is_empty() && a.len() % 2 == 0, "{} keys that both hold", a.len());
        ensure!(supernode.len() >= 2, "the supernode holds {} keys", supernode.len());
        let relayed = a.keys().find(|index| supernode.contains_key(index));
        ensure!(relayed.is_none(), "the supernode holds the key of {relayed:x?}");
        let opened = data
            .iter()
            .filter(|data| a.get(&data.receiver).is_some_and(|key| data.opens(key)));
        let (opened, of) = (
            opened.count(),
            data.iter().filter(|data| a.contains_key(&data.receiver)).count(),
        );
        println!(
            "{} keys between the two, which open {opened} of {of} datagrams",
            a.len()
        );
        ensure!(opened == of && of > 100, "they open {opened} of {of}");
        Ok(a)
    }

    /// Halves of these keys in the memory of the two and the supernode.
    fn halves_left(&mut self, keys: &Keys) -> Result<[usize; 3]> {
        let [a, b, supernode] = self.pids()?;
        Ok([
            keys::halves_left(a, keys)?,
            keys::halves_left(b, keys)?,
            keys::halves_left(supernode, keys)?,
        ])
    }

    /// Keys that were renewed are nowhere once they reached the age at which they are refused.
    ///
    /// # Errors
    /// They are found, or not even while they are in use.
    pub fn renewed_keys_are_wiped(&mut self) -> Result<()> {
        self.talk(TALK)?;
        let old = self.session_keys()?;
        let made = Instant::now();
        let found = self.halves_left(&old)?;
        println!("in use: {found:?} pieces of {} keys at a, b, supernode", old.len());
        ensure!(
            found[0] == 2 * old.len() && found[1] == found[0] && found[2] == 0,
            "{found:?}"
        );
        self.talk((KEYS_END + GRACE).saturating_sub(made.elapsed()))?;
        let left = self.halves_left(&old)?;
        println!("{} s later: {left:?}", made.elapsed().as_secs());
        let new = self.session_keys()?;
        ensure!(
            new.keys().all(|index| !old.contains_key(index)),
            "the keys were not renewed"
        );
        ensure!(left == [0; 3], "pieces of old keys: {left:?}");
        Ok(())
    }

    /// After the goodbye of one, nothing is left of their keys at the other.
    ///
    /// # Errors
    /// They are found, or not even while they are in use.
    pub fn a_goodbye_wipes_the_keys(&mut self) -> Result<()> {
        self.talk(TALK)?;
        let keys = self.session_keys()?;
        let found = self.halves_left(&keys)?;
        ensure!(
            found[0] == 2 * keys.len() && found[1] == found[0] && found[2] == 0,
            "{found:?}"
        );
        self.pair.a.node.cli(&["down"])?.success()?;
        let b = self.pair.b.node.pid()?;
        wait_for("b to wipe the keys", SOON, || {
            Ok((keys::halves_left(b, &keys)? == 0).then_some(()))
        })?;
        println!("in use: {found:?} pieces of {} keys; after the goodbye: 0", keys.len());
        Ok(())
    }

    /// Nothing of what is inside, no name and no key is in any packet on record; and who steals all secret files afterwards
    /// opens no datagram.
    ///
    /// # Errors
    /// Something is in there, or the record does not hold what it should.
    pub fn the_record_tells_nothing(&mut self) -> Result<()> {
        self.talk(TALK)?;
        let peer = self.pair.b.node.status()?["node_id"]
            .as_str()
            .context("no id")?
            .to_owned();
        self.pair.a.node.cli(&["ping", &peer, "-c", "3"])?.success()?;
        let target = IpAddr::from(self.pair.b.ipv4()?).to_string();
        self.pair
            .a
            .host()
            .exec(
                &["ping", "-c", "3", "-p", &HEXLOWER.encode(&MARKER[..16]), &target],
                SOON,
            )?
            .success()?;
        self.talk(Duration::from_secs(1))?;

        let frames = self.record.frames();
        let datagrams = self.record.datagrams();
        let kind = |kind: u8| {
            datagrams
                .iter()
                .filter(|datagram| inner(datagram).0.first() == Some(&kind))
                .count()
        };
        let relayed = |datagram: &&Vec<u8>| inner(datagram).1 && Data::parse(datagram).is_some();
        let relayed = datagrams.iter().filter(relayed).count();
        println!(
            "on record: {} packets, {} datagrams, {} of handshakes, {} of data, {relayed} of them relayed",
            frames.len(),
            datagrams.len(),
            kind(1) + kind(2),
            kind(3)
        );
        ensure!(
            kind(1) > 0 && kind(2) > 0 && relayed > 0 && kind(3) > 500,
            "the record lacks something"
        );
        for (what, needle) in self.needles()? {
            let holders = frames.iter().filter(|frame| holds(frame, &needle)).count();
            ensure!(holders == 0, "{what} is in {holders} packets");
        }

        let files = [
            self.pair.a.node.state_directory(),
            self.pair.b.node.state_directory(),
            self.pair.supernode.state_directory(),
        ];
        let stolen = files
            .map(identity)
            .into_iter()
            .map(|identity| Ok(Stolen::new(&identity?)));
        let stolen: Vec<Stolen> = stolen.collect::<Result<_>>()?;
        let outcome = eavesdropper::read(&datagrams, &stolen, &|_| Vec::new());
        println!("with all secret files: {outcome:?}");
        // That he reads who began each handshake shows that he has the right secrets.
        ensure!(outcome.read >= 3 && outcome.answered >= 3, "{outcome:?}");
        ensure!(outcome.datagrams > 500 && outcome.tried > 0, "{outcome:?}");
        ensure!(outcome.second_payloads == 0 && outcome.opened == 0, "{outcome:?}");
        Ok(())
    }

    /// What must not be seen, each in the forms in which it could be.
    fn needles(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut needles = vec![
            ("the marker".to_owned(), MARKER[..16].to_vec()),
            ("the label".to_owned(), LABEL.as_bytes().to_vec()),
        ];
        let mut secret = |what: &str, bytes: &[u8]| {
            let base32 = BASE32_NOPAD.encode(bytes);
            let forms = [
                ("", bytes.to_vec()),
                (" in hexadecimal", HEXLOWER.encode(bytes).into_bytes()),
                (" in base32", base32.to_ascii_lowercase().into_bytes()),
                (" in base32", base32.into_bytes()),
                (
                    " in base64",
                    BASE64.encode(bytes).trim_end_matches('=').as_bytes().to_vec(),
                ),
            ];
            needles.extend(forms.map(|(form, bytes)| (format!("{what}{form}"), bytes)));
        };
        let Link::Private(link) = Link::parse(&self.pair.link, Work::REQUIRED)? else {
            anyhow::bail!("{} is no link to a private network", self.pair.link);
        };
        secret("the network id", link.parameters().id().as_bytes());
        let secrets = link.secret();
        secret("the key of the members", secrets.member_key().as_bytes());
        secret("the seed of the network", link.seed.as_bytes());
        secret("the key of the invite", link.invite().seed().as_bytes());
        let (mut addresses, mut texts) = (Vec::new(), Vec::new());
        for member in [&self.pair.a, &self.pair.b] {
            let name = member.node.name();
            let identity = identity(member.node.state_directory())?;
            secret(&format!("the seed of {name}"), identity.seed().as_bytes());
            secret(&format!("the key of {name}"), identity.public().as_bytes());
            secret(&format!("the Noise key of {name}"), &identity.public().noise_static());
            let address = member.ipv4()?;
            secret(
                &format!("the key of the address of {name}"),
                secrets.address_key(address).as_bytes(),
            );
            let mac: Vec<u8> = member
                .mac()?
                .split(':')
                .map(|byte| u8::from_str_radix(byte, 16))
                .collect::<Result<_, _>>()?;
            texts.push((format!("the IPv6 address of {name}"), member.ipv6()?.octets().to_vec()));
            texts.push((format!("the address of {name}"), address.to_string().into_bytes()));
            texts.push((format!("the MAC of {name} as text"), member.mac()?.into_bytes()));
            texts.push((format!("the MAC of {name}"), mac));
            addresses.push(address.octets());
        }
        // Four bytes come by chance; the two addresses side by side, as they stand in each packet, do not.
        texts.push(("a packet from a to b".to_owned(), addresses.concat()));
        addresses.reverse();
        texts.push(("a packet from b to a".to_owned(), addresses.concat()));
        needles.extend(texts);
        Ok(needles)
    }
}

/// Records what a home sends and what it is sent.
fn listen(record: &mut Record, home: &Home) -> Result<()> {
    record.listen(&home.router, "lan")?;
    record.listen(&home.router, OUTSIDE)
}

fn holds(frame: &[u8], needle: &[u8]) -> bool {
    frame.windows(needle.len()).any(|window| window == needle)
}

fn identity(state: &Path) -> Result<Identity> {
    let file = fs::read_dir(state)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name == "identity.secret"));
    let file = file.with_context(|| format!("no identity in {}", state.display()))?;
    Ok(secret_file::load(&file, Work::REQUIRED)?)
}
