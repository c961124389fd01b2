//! Metrics: which events count, and how they become one quantity.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{Properties, Property, property::one_of};
use crate::{
    arithmetic::Overflow,
    decimal::Number,
    exact::{Exact, Toward},
    invalid::Invalid,
    read,
};

/// How the events of a metric become one quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// How many events.
    Count,
    /// The sum of the property.
    Sum,
    /// The largest value.
    Max,
    /// The smallest value.
    Min,
    /// The mean value.
    Average,
    /// The last value by time, then by arrival.
    Latest,
    /// How many different values are there at the end.
    UniqueCount,
    /// The running sum, averaged over the time it was held.
    WeightedSum,
}

impl Aggregation {
    /// Whether it looks at a property at all.
    pub fn needs_property(self) -> bool {
        self != Self::Count
    }

    /// Whether it needs a number, so that events without one are skipped.
    pub fn needs_number(self) -> bool {
        !matches!(self, Self::Count | Self::UniqueCount)
    }

    /// Whether summed-up stretches of time are enough for its quantity: what is neither by unique value nor
    /// prorated needs no single event.
    pub fn is_mergeable(self, prorated: bool) -> bool {
        self != Self::UniqueCount && !prorated
    }

    /// Whether its quantity may be weighed by the days it was there (RULES 20).
    pub fn is_proratable(self) -> bool {
        matches!(self, Self::Sum | Self::UniqueCount)
    }
}

/// What happens to a unique value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operation {
    #[default]
    Add,
    Remove,
}

/// A checked metric, as far as quantities depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    pub aggregation: Aggregation,
    /// The property that is aggregated; none for counts.
    pub property: Option<String>,
    /// Whether what is there at a period's end is there at the next one's start.
    pub recurring: bool,
    /// All must match.
    pub filters: Vec<MetricFilter>,
    pub conversion: Option<Conversion>,
    pub rounding: Option<Rounding>,
}

impl Metric {
    /// Whether an event with these properties counts at all.
    pub fn matches(&self, properties: &Properties) -> bool {
        self.filters.iter().all(|filter| one_of(properties, &filter.property, &filter.values))
    }

    /// The property that is aggregated, if the event has it.
    pub fn property_of<'a>(&self, properties: &'a Properties) -> Option<&'a Property> {
        properties.get(self.property.as_ref()?)
    }

    /// Rounds the aggregate, once, before pricing (RULES 22).
    pub fn round(&self, quantity: Exact) -> Exact {
        match self.rounding {
            Some(rounding) => rounding.apply(&quantity),
            None => quantity,
        }
    }

    /// The units in which prices are, from the units that were measured (RULES 28).
    pub fn convert(&self, quantity: &Exact) -> Result<Exact, Overflow> {
        self.conversion.map_or_else(|| Ok(quantity.clone()), |conversion| conversion.apply(quantity))
    }
}

/// Counts only events whose property has one of these values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricFilter {
    pub property: String,
    /// None of them means any value.
    #[serde(default, deserialize_with = "read::list_or_empty::<_, _, VALUES_MAX>")]
    pub values: Vec<String>,
}

/// From measured units to priced ones: bytes to gigabytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Conversion {
    pub operation: ConversionOperation,
    /// Greater than zero.
    pub factor: Number,
    /// To whole units.
    #[serde(default, deserialize_with = "read::or_default")]
    pub rounding: ConversionRounding,
}

impl Conversion {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.factor.0 > Decimal::ZERO {
            return Ok(());
        }
        Err(Invalid::new("/factor", "not_positive", "must be greater than zero"))
    }

    /// Converts without rounding.
    pub fn exact(&self, quantity: &Exact) -> Result<Exact, Overflow> {
        match self.operation {
            ConversionOperation::Multiply => Ok(quantity * Exact::from(self.factor)),
            ConversionOperation::Divide => quantity.divide(&self.factor.into()),
        }
    }

    /// Converts and rounds.
    pub fn apply(&self, quantity: &Exact) -> Result<Exact, Overflow> {
        let exact = self.exact(quantity)?;
        Ok(match self.rounding {
            ConversionRounding::None => exact,
            ConversionRounding::Up => exact.round(0, Toward::Infinity),
            ConversionRounding::Down => exact.round(0, Toward::MinusInfinity),
            ConversionRounding::Nearest => exact.round(0, Toward::Nearest),
        })
    }
}

/// Which way to convert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversionOperation {
    Multiply,
    Divide,
}

/// How converted units become whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversionRounding {
    /// They stay as they are.
    #[default]
    None,
    Up,
    Down,
    /// Half away from zero.
    Nearest,
}

/// How an aggregate is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MetricRounding)]
pub struct Rounding {
    pub mode: RoundingMode,
    /// Digits after the point, −15 to 15; negative for tens, hundreds….
    #[serde(default, deserialize_with = "read::or_default")]
    #[schema(minimum = -15, maximum = 15)]
    pub precision: i32,
}

/// Which way to round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MetricRoundingMode)]
pub enum RoundingMode {
    /// To the nearest, half away from zero.
    Round,
    /// Up, towards infinity.
    Ceil,
    /// Down, towards minus infinity.
    Floor,
}

impl Rounding {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), Invalid> {
        if (-15..=15).contains(&self.precision) {
            return Ok(());
        }
        Err(Invalid::new("/precision", "out_of_range", "must be from -15 to 15"))
    }

    /// Rounds half away from zero, up or down.
    pub fn apply(&self, quantity: &Exact) -> Exact {
        let toward = match self.mode {
            RoundingMode::Round => Toward::Nearest,
            RoundingMode::Ceil => Toward::Infinity,
            RoundingMode::Floor => Toward::MinusInfinity,
        };
        quantity.round(self.precision, toward)
    }
}

/// More filters than anybody needs.
pub const FILTERS_MAX: usize = 20;
/// More values of one filter than anybody needs.
pub const VALUES_MAX: usize = 100;

/// A metric that nobody has checked, as it stands in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MetricInput)]
pub struct RawMetric {
    /// Does not matter here, nor do `name` and `event_name`: a metric may be given as it was made.
    pub code: Option<String>,
    pub name: Option<String>,
    pub event_name: Option<String>,
    pub aggregation: Aggregation,
    /// Needed for everything but counts.
    pub property: Option<String>,
    #[serde(default, deserialize_with = "read::or_default")]
    pub recurring: bool,
    #[serde(default, deserialize_with = "read::list_or_empty::<_, _, FILTERS_MAX>")]
    pub filters: Vec<MetricFilter>,
    pub conversion: Option<Conversion>,
    pub rounding: Option<Rounding>,
}

impl RawMetric {
    /// The metric, or every mistake in it.
    pub fn check(self) -> Result<Metric, Vec<Invalid>> {
        let mut found = Vec::new();
        if self.aggregation.needs_property() && self.property.as_ref().is_none_or(String::is_empty) {
            found.push(Invalid::new("/property", "required", "is needed for this aggregation"));
        }
        if self.filters.len() > FILTERS_MAX {
            found.push(Invalid::new("/filters", "too_many", format!("at most {FILTERS_MAX} are allowed")));
        }
        for (index, filter) in self.filters.iter().enumerate() {
            let pointer = format!("/filters/{index}");
            if filter.property.is_empty() {
                found.push(Invalid::new(format!("{pointer}/property"), "required", "must not be empty"));
            }
            if filter.values.len() > VALUES_MAX {
                let detail = format!("at most {VALUES_MAX} are allowed");
                found.push(Invalid::new(format!("{pointer}/values"), "too_many", detail));
            }
        }
        if let Some(Err(mistake)) = self.conversion.map(|conversion| conversion.check()) {
            found.push(mistake.under("/conversion"));
        }
        if let Some(Err(mistake)) = self.rounding.map(|rounding| rounding.check()) {
            found.push(mistake.under("/rounding"));
        }
        if !found.is_empty() {
            return Err(found);
        }
        Ok(Metric {
            aggregation: self.aggregation,
            property: self.property,
            recurring: self.recurring,
            filters: self.filters,
            conversion: self.conversion,
            rounding: self.rounding,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(mode: RoundingMode, precision: i32, quantity: &str) -> String {
        let quantity: Decimal = quantity.parse().unwrap();
        Rounding { mode, precision }.apply(&quantity.into()).to_string()
    }

    #[test]
    fn aggregates_round_half_away_from_zero_up_or_down_to_any_digit() {
        assert_eq!(rounded(RoundingMode::Round, 0, "2.5"), "3");
        assert_eq!(rounded(RoundingMode::Round, 1, "-0.25"), "-0.3");
        assert_eq!(rounded(RoundingMode::Ceil, 0, "-1.5"), "-1");
        assert_eq!(rounded(RoundingMode::Floor, 2, "1.239"), "1.23");
        assert_eq!(rounded(RoundingMode::Round, -2, "150"), "200");
        assert_eq!(rounded(RoundingMode::Ceil, -1, "101"), "110");
        assert_eq!(rounded(RoundingMode::Floor, -1, "-101"), "-110");
        assert_eq!(
            rounded(RoundingMode::Ceil, -15, "7922816251426433759354395033"),
            "7922816251427000000000000000"
        );
    }

    #[test]
    fn a_conversion_by_nothing_and_a_sum_of_nothing_are_mistakes() {
        let raw: RawMetric = serde_json::from_str(
            r#"{"aggregation":"sum","conversion":{"operation":"divide","factor":"0"},
                "rounding":{"mode":"round","precision":16}}"#,
        )
        .unwrap();
        let found = raw.check().unwrap_err();
        let pointers: Vec<&str> = found.iter().map(|mistake| mistake.pointer.as_str()).collect();
        assert_eq!(pointers, ["/property", "/conversion/factor", "/rounding/precision"]);
    }

    #[test]
    fn bytes_become_whole_gigabytes() {
        let conversion: Conversion =
            serde_json::from_str(r#"{"operation":"divide","factor":"1000","rounding":"up"}"#).unwrap();
        assert_eq!(conversion.apply(&1001.into()), Ok(2.into()));
        assert_eq!(conversion.exact(&1500.into()).unwrap().to_string(), "1.5");
    }
}
