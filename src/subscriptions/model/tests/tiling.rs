//! Turns tile time: no gap, no overlap, whatever the calendar.

use proptest::prelude::*;

use super::*;

fn cycles() -> impl Strategy<Value = (Interval, Alignment)> {
    let count = 1_u32..4;
    let short = (count.clone(), prop_oneof![Just(Unit::Day), Just(Unit::Week)]);
    let long = (count, prop_oneof![Just(Unit::Month), Just(Unit::Quarter), Just(Unit::Year)]);
    let interval = |(count, unit)| Interval { unit, count: std::num::NonZeroU32::new(count).unwrap() };
    let anywhere = prop_oneof![Just(Alignment::Anniversary), Just(Alignment::Calendar)];
    let monthly = prop_oneof![anywhere.clone(), (1_u8..=31).prop_map(Alignment::DayOfMonth)];
    prop_oneof![(short.prop_map(interval), anywhere), (long.prop_map(interval), monthly),]
}

proptest! {
    /// RULES 2 and 7: from the start to the end, or to where nothing is due, what turns close and open tiles
    /// time, however late they are billed; short periods lie within the full ones they are prorated by.
    #[test]
    fn turns_tile_time(
        start in 1_400_000_000_i64..1_900_000_000,
        lead_days in -400_i64..400,
        (interval, alignment) in cycles(),
        zone in 0..chrono_tz::TZ_VARIANTS.len(),
        trial_days in prop_oneof![Just(0_u16), 1_u16..60],
        ends_after in prop::option::of(1_i64..70_000_000),
        canceled_after in prop::option::of((-5_000_000_i64..70_000_000, any::<bool>(), any::<bool>())),
        steps in prop::collection::vec(1_i64..20_000_000, 1..8),
    ) {
        let start = DateTime::from_timestamp(start, 0).unwrap();
        let now = start - TimeDelta::days(lead_days);
        let plan = PlanVersion { interval, trial_days, ..plan(0) };
        let wanted = Wanted {
            start_at: Some(start),
            ends_at: ends_after.map(|seconds| start + TimeDelta::seconds(seconds)),
            timezone: Some(chrono_tz::TZ_VARIANTS[zone]),
            alignment,
            ..wanted()
        };
        let mut subscription =
            Subscription::try_new(now, &tenant(now), &customer(now, None), &plan, wanted, false).unwrap();

        let mut turns = Vec::new();
        let mut clock = now;
        for step in &steps {
            clock += TimeDelta::seconds(*step);
            turns.extend(turns_until(&mut subscription, clock));
        }
        if let Some((after, at_once, bill_first)) = canceled_after {
            clock = clock.max(start + TimeDelta::seconds(after));
            if bill_first {
                turns.extend(turns_until(&mut subscription, clock));
            }
            let when = if at_once { When::Now } else { When::PeriodEnd };
            let _ = subscription.cancel(clock, when, CancelReason::Requested).unwrap();
            prop_assert!(!at_once || subscription.status == Status::Canceled);
        }
        let horizon = clock.max(start) + Months::new(72);
        turns.extend(turns_until(&mut subscription, horizon));

        let Some(first) = turns.first() else {
            prop_assert!(subscription.ended_at.is_some_and(|ended_at| ended_at <= start));
            return Ok(());
        };
        prop_assert!(first.at == start && closes(first).is_none());
        for turn in &turns {
            prop_assert_eq!(turn.ends, opens(turn).is_none());
            prop_assert!(closes(turn).is_none_or(|closes| closes.end == turn.at));
            prop_assert!(opens(turn).is_none_or(|opens| opens.start == turn.at && opens.start < opens.end));
            for (period, full) in [(closes(turn), closes_full(turn)), (opens(turn), opens_full(turn))] {
                prop_assert_eq!(period.is_some(), full.is_some());
                let whole = period.zip(full);
                prop_assert!(whole.is_none_or(|(part, full)| full.start <= part.start && part.end <= full.end));
            }
        }
        for pair in turns.windows(2) {
            let (opened, closed) = (opens(&pair[0]).unwrap(), closes(&pair[1]).unwrap());
            prop_assert_eq!(opened.start, closed.start);
            prop_assert_eq!(opens_full(&pair[0]), closes_full(&pair[1]));
            prop_assert_eq!(opens_trial(&pair[0]), closes_trial(&pair[1]));
            // Only canceling at once cuts a period that was open.
            let cut = subscription.ended_at == Some(closed.end) && closed.end < opened.end;
            prop_assert!(opened.end == closed.end || (cut && pair[1].ends));
        }
        let stopped = ends_after.is_some() || canceled_after.is_some();
        prop_assert_eq!(stopped, subscription.next_due_at.is_none());
        prop_assert_eq!(stopped, subscription.status == Status::Canceled);
        prop_assert!(subscription.next_due_at.is_none_or(|next| horizon < next));
    }
}
