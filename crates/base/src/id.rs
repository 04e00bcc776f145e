//! Typed ids: one type per kind of thing, so that no two can be confused.

/// Defines a 64-hex-digit id type: parsing, display, short form, random generation.
///
/// ```
/// base::hex_id! {
///     /// Names a volume in this example.
///     pub struct VolumeId;
/// }
/// let id = VolumeId::random(&base::SystemRandom);
/// assert_eq!(id.as_str().len(), 64);
/// assert_eq!(VolumeId::parse(id.as_str()), Ok(id.clone()));
/// assert_eq!(id.short().len(), 12);
/// assert!(VolumeId::parse("xyz").is_err());
/// ```
#[macro_export]
macro_rules! hex_id {
    ($(#[$meta:meta])* $vis:vis struct $name:ident;) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis struct $name(String);

        impl $name {
            /// A new id from `random`.
            pub fn random(random: &dyn $crate::Random) -> Self {
                Self($crate::id::random_hex(random))
            }

            /// Reads an id of exactly 64 lower-case hex digits.
            pub fn parse(text: &str) -> Result<Self, $crate::id::ParseIdError> {
                $crate::id::check_hex(text)?;
                Ok(Self(text.to_owned()))
            }

            /// All 64 digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first twelve digits, as listings show them.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::id::ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl $crate::id::serde::Serialize for $name {
            fn serialize<S: $crate::id::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> $crate::id::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::id::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as $crate::id::serde::Deserialize>::deserialize(deserializer)?;
                Self::parse(&text).map_err($crate::id::serde::de::Error::custom)
            }
        }
    };
}

#[doc(hidden)]
pub use serde;

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id of 64 hexadecimal digits")]
pub struct ParseIdError {
    text: String,
}

#[doc(hidden)]
pub fn random_hex(random: &dyn crate::Random) -> String {
    let mut bytes = [0u8; 32];
    random.fill(&mut bytes);
    // A short id of digits only would be read as a number by shells and YAML; Docker avoids it too.
    if bytes[..6].iter().all(|b| b >> 4 < 10 && b & 15 < 10) {
        bytes[0] |= 0xa0;
    }
    hex::encode(bytes)
}

#[doc(hidden)]
pub fn check_hex(text: &str) -> Result<(), ParseIdError> {
    if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        Ok(())
    } else {
        Err(ParseIdError { text: text.to_owned() })
    }
}
