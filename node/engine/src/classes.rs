//! Enums of which both ends of a pair, documents and people have to know each value.

/// Defines an enum whose values have a byte on the wire and a word in documents. The first one stands for every byte that
/// is not known.
macro_rules! classes {
    (
        $(#[$doc:meta])* $name:ident {
            $(#[$first_doc:meta])* $first:ident = $first_code:literal $first_word:literal,
            $($(#[$variant_doc:meta])* $variant:ident = $code:literal $word:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[$first_doc])*
            #[default]
            $first,
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[Self::$first, $(Self::$variant,)*];

            /// The word for it in documents.
            pub const fn word(self) -> &'static str {
                match self {
                    Self::$first => $first_word,
                    $(Self::$variant => $word,)*
                }
            }

            pub(crate) const fn code(self) -> u8 {
                match self {
                    Self::$first => $first_code,
                    $(Self::$variant => $code,)*
                }
            }

            pub(crate) fn from_code(code: u8) -> Self {
                let mut all = Self::ALL.iter();
                all.find(|class| class.code() == code).copied().unwrap_or_default()
            }
        }
    };
}

pub(crate) use classes;
