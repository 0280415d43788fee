//! What the kernels have in common: Salsa20 written once for registers of any width. `$add` and `$xor` are the intrinsics for
//! 32-bit words; `$turn!(v, n)` turns each word of `v` left by `n` bits.

/// Three numbers of words each: the first changes by the sum of the others.
macro_rules! step {
    ($x:ident $add:ident $xor:ident $turn:ident $bits:literal: $($to:literal $one:literal $other:literal),*) => {
        $($x[$to] = $xor($x[$to], $turn!($add($x[$one], $x[$other]), $bits));)*
    };
}

/// The 20 rounds by word: each of the sixteen registers `$x` holds one word of the state, of as many blocks as it has lanes.
/// All four columns or rows take turns, or `two` and then the others, which needs fewer registers at a time.
macro_rules! rounds_by_word {
    ($x:ident, $add:ident, $xor:ident, $turn:ident) => {
        for _ in 0..10 {
            step!($x $add $xor $turn 7: 4 0 12, 9 5 1, 14 10 6, 3 15 11);
            step!($x $add $xor $turn 9: 8 4 0, 13 9 5, 2 14 10, 7 3 15);
            step!($x $add $xor $turn 13: 12 8 4, 1 13 9, 6 2 14, 11 7 3);
            step!($x $add $xor $turn 18: 0 12 8, 5 1 13, 10 6 2, 15 11 7);
            step!($x $add $xor $turn 7: 1 0 3, 6 5 4, 11 10 9, 12 15 14);
            step!($x $add $xor $turn 9: 2 1 0, 7 6 5, 8 11 10, 13 12 15);
            step!($x $add $xor $turn 13: 3 2 1, 4 7 6, 9 8 11, 14 13 12);
            step!($x $add $xor $turn 18: 0 3 2, 5 4 7, 10 9 8, 15 14 13);
        }
    };
    (two: $x:ident, $add:ident, $xor:ident, $turn:ident) => {
        for _ in 0..10 {
            step!($x $add $xor $turn 7: 4 0 12, 9 5 1);
            step!($x $add $xor $turn 9: 8 4 0, 13 9 5);
            step!($x $add $xor $turn 13: 12 8 4, 1 13 9);
            step!($x $add $xor $turn 18: 0 12 8, 5 1 13);
            step!($x $add $xor $turn 7: 14 10 6, 3 15 11);
            step!($x $add $xor $turn 9: 2 14 10, 7 3 15);
            step!($x $add $xor $turn 13: 6 2 14, 11 7 3);
            step!($x $add $xor $turn 18: 10 6 2, 15 11 7);
            step!($x $add $xor $turn 7: 1 0 3, 6 5 4);
            step!($x $add $xor $turn 9: 2 1 0, 7 6 5);
            step!($x $add $xor $turn 13: 3 2 1, 4 7 6);
            step!($x $add $xor $turn 18: 0 3 2, 5 4 7);
            step!($x $add $xor $turn 7: 11 10 9, 12 15 14);
            step!($x $add $xor $turn 9: 8 11 10, 13 12 15);
            step!($x $add $xor $turn 13: 9 8 11, 14 13 12);
            step!($x $add $xor $turn 18: 10 9 8, 15 14 13);
        }
    };
}

/// The 20 rounds by diagonal: `$x` are words (0, 5, 10, 15), (4, 9, 14, 3), (8, 13, 2, 7) and (12, 1, 6, 11), of one block in
/// each 128 bits. What a step reads is ready late, so several such states take turns. `$shuffle` moves words within 128 bits.
macro_rules! rounds_by_diagonal {
    ([$($x:ident),*], $add:ident, $xor:ident, $turn:ident, $shuffle:ident) => {
        for _ in 0..10 {
            // Columns.
            $(step!($x $add $xor $turn 7: 1 0 3);)*
            $(step!($x $add $xor $turn 9: 2 1 0);)*
            $(step!($x $add $xor $turn 13: 3 2 1);)*
            $(step!($x $add $xor $turn 18: 0 3 2);)*
            $($x[1] = $shuffle::<0x93>($x[1]); $x[2] = $shuffle::<0x4e>($x[2]); $x[3] = $shuffle::<0x39>($x[3]);)*
            // Rows.
            $(step!($x $add $xor $turn 7: 3 0 1);)*
            $(step!($x $add $xor $turn 9: 2 3 0);)*
            $(step!($x $add $xor $turn 13: 1 2 3);)*
            $(step!($x $add $xor $turn 18: 0 1 2);)*
            $($x[1] = $shuffle::<0x39>($x[1]); $x[2] = $shuffle::<0x4e>($x[2]); $x[3] = $shuffle::<0x93>($x[3]);)*
        }
    };
}

/// The state by word: constants in every lane, the rest as the lanes of `$group` have it.
macro_rules! state_by_word {
    ($group:ident, $broadcast:ident, $load:ident) => {{
        let word = |word: u32| $broadcast(word as i32);
        let key = match $group.common_key() {
            Some(words) => words.map(word),
            None => {
                let mut spread = $group.spread_keys();
                let key = spread.each_ref().map(|words| $load(words));
                wipe(&mut spread, [[0; MOST]; 8]);
                key
            }
        };
        let [c0, c1, c2, c3] = CONSTANTS.map(word);
        let [k0, k1, k2, k3, k4, k5, k6, k7] = key;
        let [low, high, number] = $group.words().map(|words| $load(words));
        [
            c0,
            k0,
            k1,
            k2,
            k3,
            c1,
            low,
            high,
            number,
            word(0),
            c2,
            k4,
            k5,
            k6,
            k7,
            c3,
        ]
    }};
}

/// Within each 128 bits, turns four registers of one word each into four of four words each.
macro_rules! transpose_quarters {
    ($x:expr, $low32:ident, $high32:ident, $low64:ident, $high64:ident) => {{
        let [a, b, c, d] = $x;
        let (ab, cd) = ($low32(a, b), $low32(c, d));
        let (ab_high, cd_high) = ($high32(a, b), $high32(c, d));
        [
            $low64(ab, cd),
            $high64(ab, cd),
            $low64(ab_high, cd_high),
            $high64(ab_high, cd_high),
        ]
    }};
}

pub(super) use {rounds_by_diagonal, rounds_by_word, state_by_word, step, transpose_quarters};
