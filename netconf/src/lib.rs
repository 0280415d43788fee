//! Networks of farlan: ids, addresses, worlds and links.
