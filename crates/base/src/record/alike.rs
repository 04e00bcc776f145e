//! Conversions between a record and what it is of, where both have the same fields.

/// Conversions both ways between two structs with the same fields, each of which is named once.
///
/// A field that either of them has and that is not named here does not compile: none is forgotten on its
/// way to the disk or back. After its name stands what is to be done with it: nothing (`name`) where it is
/// of one type in both, `inner` where that is converted too, `each`, `maybe` and `named` for a list, an
/// option, and a map (or list of pairs) of what is converted.
///
/// ```
/// mod domain {
///     pub struct Port { pub number: u16 }
///     pub struct Service { pub name: String, pub ports: Vec<Port> }
/// }
/// struct Port { number: u16 }
/// struct Service { name: String, ports: Vec<Port> }
/// base::same_fields!(Port = domain::Port { number });
/// base::same_fields!(Service = domain::Service { name, ports: each });
///
/// let service = domain::Service { name: "web".to_owned(), ports: vec![domain::Port { number: 80 }] };
/// let kept = Service::from(service);
/// assert_eq!((kept.name.as_str(), kept.ports[0].number), ("web", 80));
/// let back = domain::Service::from(kept);
/// assert_eq!((back.name.as_str(), back.ports[0].number), ("web", 80));
/// ```
#[macro_export]
macro_rules! same_fields {
    (@value $field:ident) => { $field };
    (@value $field:ident inner) => { $field.into() };
    (@value $field:ident each) => { $field.into_iter().map(Into::into).collect() };
    (@value $field:ident maybe) => { $field.map(Into::into) };
    (@value $field:ident named) => {
        $field.into_iter().map(|(name, value)| (name, value.into())).collect()
    };
    ($record:ident = $($of:ident)::+ { $($field:ident $(: $how:ident)?),* $(,)? }) => {
        impl From<$($of)::+> for $record {
            fn from(of: $($of)::+) -> Self {
                let $($of)::+ { $($field),* } = of;
                Self { $($field: $crate::same_fields!(@value $field $($how)?)),* }
            }
        }

        impl From<$record> for $($of)::+ {
            fn from(record: $record) -> Self {
                let $record { $($field),* } = record;
                Self { $($field: $crate::same_fields!(@value $field $($how)?)),* }
            }
        }
    };
}

/// As [`same_fields`], for two enums with the same variants; what is in a variant is named as fields are.
///
/// ```
/// mod domain {
///     #[derive(Debug, PartialEq)]
///     pub enum Network { None, Named(String), Addressed { address: [u8; 4] } }
/// }
/// enum Network { None, Named(String), Addressed { address: [u8; 4] } }
/// base::same_variants!(Network = domain::Network { None, Named(name), Addressed { address } });
///
/// for network in [domain::Network::None, domain::Network::Named("web".to_owned())] {
///     let text = format!("{network:?}");
///     assert_eq!(format!("{:?}", domain::Network::from(Network::from(network))), text);
/// }
/// ```
#[macro_export]
macro_rules! same_variants {
    ($record:ident = $($of:ident)::+ {
        $($variant:ident
            $(($inner:ident $(: $inner_how:ident)?))?
            $({ $($field:ident $(: $how:ident)?),* $(,)? })?
        ),* $(,)?
    }) => {
        impl From<$($of)::+> for $record {
            fn from(of: $($of)::+) -> Self {
                type Of = $($of)::+;
                match of {
                    $(Of::$variant $(($inner))? $({ $($field),* })? => Self::$variant
                        $(($crate::same_fields!(@value $inner $($inner_how)?)))?
                        $({ $($field: $crate::same_fields!(@value $field $($how)?)),* })?),*
                }
            }
        }

        impl From<$record> for $($of)::+ {
            fn from(record: $record) -> Self {
                match record {
                    $($record::$variant $(($inner))? $({ $($field),* })? => Self::$variant
                        $(($crate::same_fields!(@value $inner $($inner_how)?)))?
                        $({ $($field: $crate::same_fields!(@value $field $($how)?)),* })?),*
                }
            }
        }
    };
}
