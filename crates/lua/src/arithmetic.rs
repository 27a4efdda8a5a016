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
    libm::pow(a, b)
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
}
