//! What one end of a session tells the other of its own side, for a diagnosis.
//!
//! ```text
//!  0  openness 1 | version 3 (major, minor, patch)
//!  4  translated 1 | mapping 1 | filter 1 | ports 1 | step between ports 1 (signed) | hairpin 1
//! 10  UDP 1 | TCP 1 | carrier 1 | port mapping 1
//! 14  twin 1 | way 1 | over TCP 1 | search 1 | limited 1
//! 19  endpoints told: outside 1, local 1, mapped 1
//! 22  rounds 2 | the first's age 2
//! 26  sent 2 | came 2
//! 30  answered 2 | loss's age 2
//! 34  use's age 2 | MTU 2
//! 38  too large 2
//! ```
//! Ages are in seconds, 65,535 standing for never. A class that is not known is read as 0, unknown. Bytes behind these are
//! ignored.

use farlan_netconf::Reader;

use super::endpoint::Malformed;
use crate::{
    behaviour::{Behaviour, Filtering, Mapping, Ports},
    observations::{Endpoints, Finding, Observations, Openness, PortMapping, Search, Seconds, Way},
};

/// Stands for an age that there is not.
const NEVER: u16 = u16::MAX;

pub(super) fn put_observations(bytes: &mut Vec<u8>, told: &Observations) {
    bytes.push(told.openness.code());
    bytes.extend_from_slice(&told.version);
    put_behaviour(bytes, &told.behaviour);
    bytes.extend_from_slice(&[
        told.udp.code(),
        told.tcp.code(),
        told.carrier.code(),
        told.port_mapping.code(),
        told.twin.code(),
        told.way.code(),
        told.over_tcp.code(),
        told.search.code(),
        told.limited.code(),
        told.told.outside,
        told.told.local,
        told.told.mapped,
    ]);
    for number in [
        told.rounds,
        age(told.round),
        told.sent,
        told.came,
        told.answered,
        age(told.lost),
        age(told.used),
        told.mtu,
        told.too_large,
    ] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
}

pub(super) fn observations(reader: &mut Reader<'_>) -> Result<Observations, Malformed> {
    Ok(Observations {
        openness: Openness::from_code(reader.u8()?),
        version: reader.array()?,
        behaviour: behaviour(reader)?,
        udp: Finding::from_code(reader.u8()?),
        tcp: Finding::from_code(reader.u8()?),
        carrier: Finding::from_code(reader.u8()?),
        port_mapping: PortMapping::from_code(reader.u8()?),
        twin: Finding::from_code(reader.u8()?),
        way: Way::from_code(reader.u8()?),
        over_tcp: Finding::from_code(reader.u8()?),
        search: Search::from_code(reader.u8()?),
        limited: Finding::from_code(reader.u8()?),
        told: Endpoints {
            outside: reader.u8()?,
            local: reader.u8()?,
            mapped: reader.u8()?,
        },
        rounds: reader.u16()?,
        round: seconds(reader)?,
        sent: reader.u16()?,
        came: reader.u16()?,
        answered: reader.u16()?,
        lost: seconds(reader)?,
        used: seconds(reader)?,
        mtu: reader.u16()?,
        too_large: reader.u16()?,
    })
}

fn put_behaviour(bytes: &mut Vec<u8>, told: &Behaviour) {
    let (mapping, filtering) = (told.mapping.code(), told.filtering.code());
    let (ports, stride) = match told.ports {
        Ports::Unknown => (0, 0),
        Ports::Kept => (1, 0),
        Ports::Changed => (2, 0),
        Ports::Sequential { stride } => (3, stride),
        Ports::Random => (4, 0),
    };
    let [translated, hairpin] = [told.translated, told.hairpin].map(|so| Finding::from(so).code());
    bytes.extend_from_slice(&[translated, mapping, filtering, ports]);
    bytes.extend_from_slice(&stride.to_be_bytes());
    bytes.push(hairpin);
}

fn behaviour(reader: &mut Reader<'_>) -> Result<Behaviour, Malformed> {
    let translated = Finding::from_code(reader.u8()?).into();
    let mapping = Mapping::from_code(reader.u8()?);
    let filtering = Filtering::from_code(reader.u8()?);
    let (ports, stride) = (reader.u8()?, i8::from_be_bytes(reader.array()?));
    let ports = match ports {
        1 => Ports::Kept,
        2 => Ports::Changed,
        3 if stride != 0 => Ports::Sequential { stride },
        4 => Ports::Random,
        _ => Ports::Unknown,
    };
    let hairpin = Finding::from_code(reader.u8()?).into();
    Ok(Behaviour {
        translated,
        mapping,
        filtering,
        ports,
        hairpin,
    })
}

fn age(seconds: Option<Seconds>) -> u16 {
    seconds.map_or(NEVER, Seconds::get)
}

fn seconds(reader: &mut Reader<'_>) -> Result<Option<Seconds>, Malformed> {
    let seconds = reader.u16()?;
    Ok((seconds != NEVER).then(|| Seconds::new(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_one_that_is_drawn() {
        let told = Observations {
            openness: Openness::Open,
            version: [1, 2, 3],
            behaviour: Behaviour {
                translated: Some(true),
                mapping: Mapping::PortDependent,
                filtering: Filtering::ByPort,
                ports: Ports::Sequential { stride: -2 },
                hairpin: Some(false),
            },
            udp: Finding::Yes,
            limited: Finding::No,
            too_large: 0x0578,
            mtu: 0x0500,
            round: Some(Seconds::new(7)),
            told: Endpoints {
                outside: 1,
                local: 2,
                mapped: 3,
            },
            ..Observations::default()
        };
        let mut bytes = Vec::new();
        put_observations(&mut bytes, &told);
        assert_eq!(bytes.len(), 40);
        assert_eq!(bytes[..11], [1, 1, 2, 3, 2, 3, 2, 3, 0xfe, 1, 2]);
        assert_eq!(bytes[18..26], [1, 1, 2, 3, 0, 0, 0, 7]);
        assert_eq!(bytes[32..40], [0xff, 0xff, 0xff, 0xff, 5, 0, 5, 0x78]);
        assert_eq!(observations(&mut Reader::new(&bytes)), Ok(told));
    }

    #[test]
    fn a_class_of_another_version_is_unknown() {
        let mut bytes = vec![200; 40];
        let told = observations(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(
            (told.behaviour, told.openness),
            (Behaviour::default(), Openness::Unknown)
        );
        bytes.truncate(39);
        assert!(observations(&mut Reader::new(&bytes)).is_err());
    }
}
