/**
 * Times as the rules count them: milliseconds in binary fractions, which doubles add without rounding for some years.
 */

/** Rounds up to a multiple of `grain`, a power of two. */
export const ceilTo = (value: number, grain: number): number => Math.ceil(value / grain) * grain

/**
 * Rounds a wait up to 1/64 ms, which is a whole number of nanoseconds: who waits exactly so long by a clock that counts in
 * nanoseconds is not early by a rounding.
 */
export const roundWait = (millis: number): number => Math.ceil(millis * 64) / 64

/** A clock reading in nanoseconds as milliseconds, rounded down to 1/65536 ms. */
export const millisOf = (nanos: number): number => Math.floor(nanos / 15.258_789_062_5) / 65_536
