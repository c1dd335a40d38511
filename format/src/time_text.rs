//! Times as people read and write them, in UTC and without a clock.

/// Milliseconds since 1970 as `2026-11-22T23:05:52.123Z`; outside the years 0 to 9999 the number itself.
pub fn time_text(ms: i64) -> String {
    const DAY: i64 = 86_400_000;
    let (days, in_day) = (ms.div_euclid(DAY), ms.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    if !(0..=9999).contains(&year) {
        return ms.to_string();
    }
    let (hour, minute, second, ms) =
        (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from 0000-03-01, a leap day ends its year, and 400 years always have 146,097 days.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A time given by people: milliseconds since 1970, or `2026-11-22`, `2026-11-22T23:05:52` with a fraction of up to
/// three digits, in UTC with or without a `Z`. `None` for anything else.
pub fn parse_time(text: &str) -> Option<i64> {
    if let Ok(ms) = text.parse::<i64>() {
        return Some(ms);
    }
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let mut date = date.splitn(3, '-').map(|part| digits(part, 2).or_else(|| digits(part, 4)));
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.splitn(3, ':').map(|part| digits(part, 2));
    let (hour, minute) = (clock.next()??, clock.next()??);
    let second = clock.next().unwrap_or(Some(0))?;
    let ms = (1..=3).contains(&fraction.len()).then(|| digits(&format!("{fraction:0<3}"), 3))??;
    let days = days_of(year, month, day);
    let fits = hour < 24 && minute < 60 && second < 60 && civil(days) == (year, month, day);
    fits.then(|| (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms)
}

/// Exactly so many digits.
fn digits(text: &str, len: usize) -> Option<i64> {
    let all = text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok())?
}

/// Days since 1970-01-01; the opposite of [`civil`].
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_364_410_924_250, "2013-03-27T19:02:04.250Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "253402300800000"),
            (i64::MIN, "-9223372036854775808"),
        ] {
            assert_eq!(time_text(ms), text);
        }
    }

    #[test]
    fn a_time_is_read_back_as_it_was_shown_and_nonsense_is_not() {
        for ms in [0, -1, 951_782_400_000, 1_364_410_924_250, 4_107_542_400_000, 253_402_300_799_999] {
            assert_eq!(parse_time(&time_text(ms)), Some(ms));
        }
        for (text, ms) in [("1700000000000", 1_700_000_000_000), ("1970-01-02", 86_400_000), ("-5", -5)] {
            assert_eq!(parse_time(text), Some(ms), "{text}");
        }
        assert_eq!(parse_time("1970-01-01T00:01"), Some(60_000));
        assert_eq!(parse_time("1970-01-01 00:00:01.5"), Some(1_500));
        for wrong in
            ["", "now", "2026-13-01", "2026-02-30", "2026-1-1", "2026-01-01T24:00", "2026-01-01T1", "1e3"]
        {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }
}
