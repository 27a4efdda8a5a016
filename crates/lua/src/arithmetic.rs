//! Arithmetic on numbers.

/// From here on every number is an integer.
const INTEGERS_FROM: f64 = 4_503_599_627_370_496.0;

/// The largest integer that is not above `x`.
#[inline]
pub(crate) fn floor(x: f64) -> f64 {
    if x.abs() >= INTEGERS_FROM || x.is_nan() {
        return x;
    }
    let whole = (x as i64) as f64;
    if whole > x {
        whole - 1.0
    } else {
        whole.copysign(if whole == 0.0 { x } else { whole })
    }
}

/// `a % b`: what is left of `a` when `b` is taken as often as fits, with the sign of `b`.
#[inline]
pub(crate) fn modulo(a: f64, b: f64) -> f64 {
    a - floor(a / b) * b
}

/// `a ^ b`
#[inline]
pub(crate) fn power(a: f64, b: f64) -> f64 {
    // Powers with integer exponents are computed with twice the digits, so that they are rounded as in glibc.
    if b.abs() <= EXPONENT_MAX
        && floor(b) == b
        && let Some(power) = integer_power(a, b as i32)
    {
        return power;
    }
    libm::pow(a, b)
}

/// The largest exponent whose power is computed with twice the digits.
const EXPONENT_MAX: f64 = 1024.0;
/// Numbers outside are left to the library: parts of their products would be too small or too large.
const PRECISE: core::ops::Range<f64> = 1e-280..1e280;

/// A number as a sum of two, the second far smaller than the first.
#[derive(Clone, Copy)]
struct Double(f64, f64);

impl Double {
    /// `a * b` without rounding.
    fn product(a: f64, b: f64) -> Self {
        let split = |x: f64| {
            let large = 134_217_729.0 * x;
            let high = large - (large - x);
            (high, x - high)
        };
        let product = a * b;
        let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
        let rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
        Self(product, rest)
    }

    fn times(self, other: Self) -> Self {
        let Self(high, low) = Self::product(self.0, other.0);
        let low = low + (self.0 * other.1 + self.1 * other.0);
        let sum = high + low;
        Self(sum, low - (sum - high))
    }
}

/// `a ^ exponent`, if all numbers on the way are of moderate size.
fn integer_power(a: f64, exponent: i32) -> Option<f64> {
    let (mut power, mut square) = (Double(1.0, 0.0), Double(a, 0.0));
    let mut rest = exponent.unsigned_abs();
    loop {
        if !PRECISE.contains(&square.0.abs()) {
            return None;
        }
        if rest & 1 == 1 {
            power = power.times(square);
        }
        rest >>= 1;
        if rest == 0 {
            break;
        }
        square = square.times(square);
    }
    if !PRECISE.contains(&power.0.abs()) {
        return None;
    }
    if exponent >= 0 {
        return Some(power.0 + power.1);
    }
    let inverse = 1.0 / power.0;
    let Double(product, low) = Double::product(inverse, power.0);
    let rest = ((1.0 - product) - low) - inverse * power.1;
    Some(inverse + rest / power.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_is_that_of_c() {
        for x in [
            0.0,
            -0.0,
            0.5,
            -0.5,
            1.0,
            -1.0,
            1e15,
            -1e15 - 0.5,
            1e300,
            -1e300,
            4_503_599_627_370_495.5,
        ] {
            assert_eq!(floor(x).to_bits(), libm::floor(x).to_bits(), "{x}");
        }
        assert!(floor(f64::NAN).is_nan());
        assert_eq!(floor(f64::INFINITY), f64::INFINITY);
    }

    #[test]
    fn powers_of_integers_are_rounded_once() {
        for (a, b, power) in [
            (3.0, 33.0, 5_559_060_566_555_523.0),
            (-7.0, 17.0, -232_630_513_987_207.0),
            (10.0, -5.0, 1e-5),
            (10.0, 22.0, 1e22),
            (10.0, 200.0, 1e200),
            (2.0, -1.0, 0.5),
            (2.0, 1023.0, 2.0_f64.powi(1023)),
            (5.0, 0.0, 1.0),
            (0.0, 0.0, 1.0),
            (-0.0, 3.0, -0.0),
            (0.5, 1.0, 0.5),
        ] {
            assert_eq!(power.to_bits(), super::power(a, b).to_bits(), "{a} ^ {b}");
        }
        assert_eq!(super::power(2.0, 0.5), core::f64::consts::SQRT_2);
    }
}
