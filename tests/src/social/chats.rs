//! Chats: anybody with anybody, now and then.

use super::{
    draw::{Draw, Shuffle},
    hubs::REMEMBERED,
    proportions::Proportions,
};

/// One chat, seen from either end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chat {
    /// The other's number among those who may chat.
    pub who: u32,
    /// Seconds since something was said.
    pub ago: f64,
    /// Seconds in which something was said.
    pub seconds: u32,
}

/// All chats: each chatter has some ends, the ends are shuffled, and neighbours in that order are the two of one chat.
#[derive(Debug)]
pub struct Chats {
    people: Shuffle,
    chatters: u64,
    each: u64,
    ends: Shuffle,
    about: Draw,
}

/// Share of the ends at which there is a chat.
const USED: f64 = 0.6;

impl Chats {
    /// The chats of `nodes` nodes, `people` of whom may chat.
    pub fn new(seed: u64, nodes: u32, people: u32, proportions: &Proportions) -> Self {
        let chatters = ((f64::from(nodes) * proportions.chatters) as u64)
            .min(people.into())
            .max(2);
        Self {
            people: Shuffle::new(Draw::new(seed, "chatters"), people.into()),
            chatters,
            each: proportions.chats,
            ends: Shuffle::new(Draw::new(seed, "chat ends"), chatters * proportions.chats),
            about: Draw::new(seed, "chat"),
        }
    }

    /// The chats of a person, with some others more than one.
    pub fn of(&self, person: u32) -> Vec<Chat> {
        let chatter = self.people.place(person.into());
        let mut chats: Vec<Chat> = Vec::new();
        if chatter >= self.chatters {
            return chats;
        }
        for number in 0..self.each {
            let place = self.ends.place(chatter * self.each + number);
            let other = place ^ 1;
            let about = self.about.of(place & !1);
            if other >= self.ends.bound() || !about.of(0).chance(USED) {
                continue;
            }
            let who = self.people.number(self.ends.number(other) / self.each) as u32;
            if who != person {
                chats.push(Chat {
                    who,
                    ago: REMEMBERED * about.of(1).unit(),
                    seconds: 1 + about.of(2).below(30) as u32,
                });
            }
        }
        chats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chats_are_mutual() {
        let chats = Chats::new(1, 10_000, 8000, &Proportions::social());
        let (mut ends, mut chatters) = (0, 0);
        for person in 0..8000 {
            let own = chats.of(person);
            chatters += u32::from(!own.is_empty());
            for chat in own {
                assert!(chats.of(chat.who).iter().any(|other| other.who == person));
                ends += 1;
            }
        }
        assert!((1800..=2000).contains(&chatters), "{chatters}");
        assert!((4400..5200).contains(&ends), "{ends}");
    }
}
