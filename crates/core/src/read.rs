//! How optional fields and lists are read: null is the same as missing, and a list is read no further than it may be
//! long, so that a body cannot make us hold what will be refused.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

/// Reads a list and keeps `MAX` + 1 entries: one more than allowed, so that a check sees that there are too many.
pub fn list<'de, D, T, const MAX: usize>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_seq(Entries::<T, MAX>(PhantomData))
}

/// The same for a list that may be missing or null.
pub fn optional_list<'de, D, T, const MAX: usize>(from: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let kept = Option::<Kept<T, MAX>>::deserialize(from)?;
    Ok(kept.map(|kept| kept.0))
}

/// The same, where nothing is as good as an empty list.
pub fn list_or_empty<'de, D, T, const MAX: usize>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    optional_list::<D, T, MAX>(from).map(Option::unwrap_or_default)
}

/// A value that may be null, which stands for its default.
pub fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

struct Kept<T, const MAX: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Kept<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        list::<D, T, MAX>(from).map(Self)
    }
}

struct Entries<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Entries<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
        let mut kept = Vec::new();
        while kept.len() <= MAX {
            match entries.next_element()? {
                Some(entry) => kept.push(entry),
                None => return Ok(kept),
            }
        }
        while entries.next_element::<IgnoredAny>()?.is_some() {}
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Few {
        #[serde(default, deserialize_with = "optional_list::<_, _, 2>")]
        some: Option<Vec<u8>>,
        #[serde(default, deserialize_with = "list_or_empty::<_, _, 2>")]
        all: Vec<u8>,
        #[serde(default, deserialize_with = "or_default")]
        number: u8,
    }

    #[test]
    fn a_list_is_kept_up_to_one_more_than_it_may_hold() {
        let read = |json: &str| serde_json::from_str::<Few>(json).map(|few| (few.some, few.all)).ok();
        assert_eq!(read("{}"), Some((None, vec![])));
        assert_eq!(read(r#"{"some":null,"all":null,"number":null}"#), Some((None, vec![])));
        assert_eq!(read(r#"{"some":[1,2],"all":[3]}"#), Some((Some(vec![1, 2]), vec![3])));
        assert_eq!(
            read(r#"{"some":[1,2,3,"x"],"all":[1,2,3,4]}"#),
            Some((Some(vec![1, 2, 3]), vec![1, 2, 3]))
        );
        assert_eq!(read(r#"{"number":"x"}"#), None);
        assert_eq!(read(r#"{"all":[1,"x"]}"#), None);
        assert_eq!(serde_json::from_str::<Few>(r#"{"number":7}"#).unwrap().number, 7);
    }
}
