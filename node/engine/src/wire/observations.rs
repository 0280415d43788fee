//! What one end of a session tells the other of its own side, for a diagnosis.
//!
//! ```text
//!  0  openness 1 | version 3 (major, minor, patch)
//!  4  mapping 1 | filtering 1 | ports 1 | hairpin 1
//!  8  UDP 1 | TCP 1 | carrier 1 | port mapping 1
//! 12  twin 1 | way 1 | over TCP 1 | search 1
//! 16  limited 1 | endpoints told: outside 1, local 1, mapped 1
//! 20  rounds 2 | round's age 2
//! 24  sent 2 | came 2
//! 28  answered 2 | loss's age 2
//! 32  use's age 2 | MTU 2
//! 36  too large 2
//! ```
//! Ages are in seconds, 65,535 standing for never. A class that is not known is read as 0, unknown. Bytes behind these are
//! ignored.

use farlan_netconf::Reader;

use super::endpoint::Malformed;
use crate::observations::{
    Endpoints, Filtering, Finding, Mapping, Observations, Openness, PortMapping, Ports, Search, Seconds, Way,
};

/// Stands for an age that there is not.
const NEVER: u16 = u16::MAX;

pub(super) fn put_observations(bytes: &mut Vec<u8>, told: &Observations) {
    bytes.push(told.openness.code());
    bytes.extend_from_slice(&told.version);
    bytes.extend_from_slice(&[
        told.mapping.code(),
        told.filtering.code(),
        told.ports.code(),
        told.hairpin.code(),
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
        mapping: Mapping::from_code(reader.u8()?),
        filtering: Filtering::from_code(reader.u8()?),
        ports: Ports::from_code(reader.u8()?),
        hairpin: Finding::from_code(reader.u8()?),
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
            mapping: Mapping::ByPort,
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
        assert_eq!(bytes.len(), 38);
        assert_eq!(bytes[..5], [1, 1, 2, 3, 4]);
        assert_eq!(bytes[17..24], [1, 2, 3, 0, 0, 0, 7]);
        assert_eq!(bytes[30..38], [0xff, 0xff, 0xff, 0xff, 5, 0, 5, 0x78]);
        assert_eq!(observations(&mut Reader::new(&bytes)), Ok(told));
    }

    #[test]
    fn a_class_of_another_version_is_unknown() {
        let mut bytes = vec![200; 38];
        let told = observations(&mut Reader::new(&bytes)).unwrap();
        assert_eq!((told.mapping, told.openness), (Mapping::Unknown, Openness::Unknown));
        bytes.truncate(37);
        assert!(observations(&mut Reader::new(&bytes)).is_err());
    }
}
