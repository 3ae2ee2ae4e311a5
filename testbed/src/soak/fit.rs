//! A straight line through measured points, by least squares.

/// `intercept + slope * x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Where it begins.
    pub intercept: f64,
    /// How much it rises for each unit.
    pub slope: f64,
    /// Share of the variance that it explains: 1 when all points lie on it.
    pub r_squared: f64,
}

/// The line through points `(x, y)`; none when they do not name one: fewer than two different `x`.
#[expect(clippy::cast_precision_loss, reason = "a number of points stays far below 2^52")]
pub fn line(points: &[(f64, f64)]) -> Option<Line> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in points {
        xx += (x - mean_x) * (x - mean_x);
        xy += (x - mean_x) * (y - mean_y);
        yy += (y - mean_y) * (y - mean_y);
    }
    if points.len() < 2 || xx <= 0.0 {
        return None;
    }
    let slope = xy / xx;
    // Points that are all at the same height lie on their line.
    let r_squared = if yy > 0.0 { xy * xy / (xx * yy) } else { 1.0 };
    Some(Line { intercept: mean_y - slope * mean_x, slope, r_squared })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_line_name_it() {
        let found = line(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]).expect("a line");
        assert!((found.intercept - 3.0).abs() < 1e-9 && (found.slope - 2.0).abs() < 1e-9);
        assert!((found.r_squared - 1.0).abs() < 1e-9);
        let found = line(&[(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)]).expect("a line");
        assert!(found.slope.abs() < 1e-9 && found.r_squared < 0.01, "{found:?}");
    }

    #[test]
    fn one_place_names_no_line() {
        assert_eq!(line(&[]), None);
        assert_eq!(line(&[(1.0, 1.0)]), None);
        assert_eq!(line(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }
}
