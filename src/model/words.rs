//! Enums that are stored, configured and shown as words.

/// Defines an enum with one word for each value.
///
/// The word is the same in the database, the configuration, JSON and output. It serves as
/// `Display`, serde representation and JSON schema, so a value has no second spelling.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $($(#[$value_meta:meta])* $value:ident = $word:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug,
            ::serde::Serialize, ::serde::Deserialize,
        )]
        $vis enum $name {
            $($(#[$value_meta])* #[serde(rename = $word)] $value,)+
        }

        impl $name {
            /// Every value, in the order of the enum.
            $vis const ALL: [Self; [$($word),+].len()] = [$(Self::$value),+];

            /// Returns the word.
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }

            /// Returns the value of a word; `None` for any other text.
            $vis fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$value),)+
                    _ => None,
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::schemars::JsonSchema for $name {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({ "type": "string", "enum": [$($word),+] })
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    words! {
        enum Colour {
            Red = "red",
            LightBlue = "light-blue",
        }
    }

    #[test]
    fn a_value_has_one_word_in_text_json_and_schema() {
        for colour in Colour::ALL {
            assert_eq!(Colour::parse(colour.as_str()), Some(colour));
            assert_eq!(serde_json::json!(colour), serde_json::json!(colour.to_string()));
        }
        assert_eq!(Colour::parse("blue"), None);
        let schema = schemars::schema_for!(Colour);
        assert_eq!(schema.get("enum"), Some(&serde_json::json!(["red", "light-blue"])));
    }
}
