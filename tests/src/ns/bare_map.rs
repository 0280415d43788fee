//! The least that ioquake3's server needs to run: a map of one empty room. It is written here, since the free maps are
//! 400 MB.

/// The name of the game's directory, and of its map.
pub const GAME: &str = "bare";

/// What stands at the beginning of a map, and its version.
const MAGIC: &[u8] = b"IBSP";
const VERSION: i32 = 46;

/// Half the length of the room's edges.
const HALF: i32 = 64;

/// Tables of a map, of which the last nine may be empty.
const TABLES: usize = 17;

/// A map in Quake III's format.
pub fn file() -> Vec<u8> {
    let entities =
        "{\n\"classname\" \"worldspawn\"\n}\n{\n\"classname\" \"info_player_deathmatch\"\n\"origin\" \"0 0 0\"\n}\n\0";
    let mut shader = b"none".to_vec();
    shader.resize(64, 0);
    shader.extend(numbers(&[0, 1]));
    let plane = floats(&[0.0, 0.0, 1.0, -100.0]);
    let room = [-HALF, -HALF, -HALF, HALF, HALF, HALF];
    // A plane, and the one leaf on either side of it.
    let node = numbers(&[&[0, -1, -1][..], &room].concat());
    let leaf = numbers(&[&[0, 0][..], &room, &[0; 4]].concat());
    let model = [floats(&room.map(|edge| edge as f32)), numbers(&[0; 4])].concat();
    let mut tables = vec![entities.into(), shader, plane, node, leaf, vec![], vec![], model];
    tables.resize(TABLES, Vec::new());
    let mut header = [MAGIC, &VERSION.to_le_bytes()].concat();
    let mut body = Vec::new();
    let begin = header.len() + TABLES * 8;
    for table in tables {
        header.extend(numbers(&[(begin + body.len()) as i32, table.len() as i32]));
        body.extend(table);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    [header, body].concat()
}

fn numbers(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_where_the_header_says() {
        let file = file();
        let number = |at: usize| i32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        let (begin, length) = (number(8), number(12));
        assert!(file[begin..begin + length].starts_with(b"{\n\"classname\" \"worldspawn\""));
        let last = 8 + (TABLES - 1) * 8;
        assert_eq!((number(last), number(last + 4)), (file.len(), 0));
    }
}
