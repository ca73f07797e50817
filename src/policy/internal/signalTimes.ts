/**
 * Times as services write them: how long to wait, or when something begins anew. All answers are milliseconds from now, never
 * negative and always finite; `undefined` where the text makes no sense.
 */

/** The largest time that is told: nobody waits that long. */
export const maxMillis = Number.MAX_SAFE_INTEGER

const units: Readonly<Record<string, number>> = {
  d: 86_400_000,
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
  us: 0.001,
  "µs": 0.001,
  ns: 0.000_001
}

const bounded = (millis: number): number | undefined =>
  Number.isNaN(millis) ? undefined : Math.min(Math.max(0, millis), maxMillis)

/** A decimal number, and nothing else: no `0x10`, no `Infinity`, no empty text. */
export const numberOf = (text: string): number | undefined =>
  /^\s*[+-]?(?:\d{1,400}(?:\.\d{0,40})?|\.\d{1,40})\s*$/.test(text) ? Number(text) : undefined

/** `6m0s`, `1m6.779s`, `20ms`, `34.4s`: Go's way, in which OpenAI and Google write. */
export const durationOf = (text: string): number | undefined => {
  const trimmed = text.trim().toLowerCase()
  if (trimmed.length > 60 || !/^(?:\d+(?:\.\d+)?(?:ms|us|µs|ns|d|h|m|s))+$/.test(trimmed)) return undefined
  let millis = 0
  for (const [, amount, unit] of trimmed.matchAll(/(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)/g)) {
    millis += Number(amount) * units[unit!]!
  }
  return bounded(millis)
}

/** A point of time in milliseconds since 1970: an HTTP date in any of its three forms, or RFC 3339. */
export const dateOf = (text: string): number | undefined => {
  const trimmed = text.trim()
  // `Date.parse` reads years into almost anything; a date has a clock time in it.
  if (trimmed.length > 60 || !/\d{1,2}:\d{2}/.test(trimmed) || !/^[A-Za-z\d]/.test(trimmed)) return undefined
  // The old asctime form, and RFC 3339 without its zone, mean UTC.
  const zoned = /(?:[A-Za-z]{1,5}|[+-]\d{2}:?\d{2})$/.test(trimmed)
  const time = Date.parse(zoned ? trimmed : /^\d{4}-/.test(trimmed) ? `${trimmed}Z` : `${trimmed} GMT`)
  return Number.isNaN(time) ? undefined : time
}

/**
 * The wait that `Retry-After` names: seconds (fractions and all), a date, or a duration with its units. `now` is the service's
 * time where its answer has a `Date`, else ours. Where a proxy joined two values, the longer one.
 */
export const retryAfterOf = (text: string, now: number): number | undefined => {
  const whole = oneRetryAfter(text, now)
  if (whole !== undefined || text.length > 200) return whole
  const several = text.split(",").map((part) => oneRetryAfter(part, now)).filter((part) => part !== undefined)
  return several.length === 0 ? undefined : Math.max(...several)
}

const oneRetryAfter = (text: string, now: number): number | undefined => {
  const seconds = numberOf(text)
  if (seconds !== undefined) return since1970(seconds, now) ?? bounded(seconds * 1000)
  const date = dateOf(text)
  return date === undefined ? durationOf(text) : bounded(date - now)
}

/** When a limit is filled again: a duration with units, seconds from now, Unix seconds or milliseconds, or a date. */
export const resetOf = (text: string, now: number): number | undefined => oneRetryAfter(text, now)

// A number of this size is no wait but a time: seconds since 2001, or milliseconds.
const since1970 = (value: number, now: number): number | undefined =>
  value < 1e9 ? undefined : value < 1e11 ? bounded(value * 1000 - now) : value < 1e14 ? bounded(value - now) : undefined

/** What a sentence for people says: "Please try again in 1m6.779s", "Please retry in 34.4s", "retry after 20 seconds". */
export const sentenceOf = (text: string): number | undefined => {
  const found =
    /\b(?:try again|retry|retrying|wait)(?: again)?(?: (?:in|after|for))? ((?:\d+(?:\.\d+)?\s?(?:[a-zµ]{1,12})\s?){1,4})/i
      .exec(text.slice(0, 4096))
  if (found === null) return undefined
  const words = found[1]!.toLowerCase().replace(/\s/g, "")
    .replace(/(\d)milliseconds?/g, "$1ms")
    .replace(/(\d)(?:seconds?|secs?)/g, "$1s")
    .replace(/(\d)(?:minutes?|mins?)/g, "$1m")
    .replace(/(\d)(?:hours?|hrs?)/g, "$1h")
    .replace(/(\d)days?/g, "$1d")
  const start = /^(?:\d+(?:\.\d+)?(?:ms|us|µs|ns|d|h|m|s)(?![a-z]))+/.exec(words)
  return start === null ? undefined : durationOf(start[0])
}
