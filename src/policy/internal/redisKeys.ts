/**
 * The names of keys in Redis. All keys of one limiter share one hash tag, so they live in one slot whatever services and tenants
 * are called; names stay apart, and long ones are replaced by a digest.
 */

/** The longest name that is kept as it is, in characters. */
const longest = 160

/**
 * Writes a name in letters that mean nothing to Redis, JSON or Lua: other code units as `%` and four digits. Two names are
 * never written alike.
 */
export const escape = (name: string): string => name.replace(/[^\w:./-]/g, (unit) => escapeUnit(unit.charCodeAt(0)))

const escapeUnit = (code: number): string => `%${code.toString(16).padStart(4, "0")}`

/** Undoes {@link escape}. */
export const unescape = (name: string): string =>
  name.replace(/%([0-9a-f]{4})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))

/** An escaped name of at most some 160 letters: a longer one ends in the digest of the whole, after a mark no escape has. */
export const short = (name: string): string => {
  const escaped = escape(name)
  return escaped.length <= longest ? escaped : `${escaped.slice(0, 64)}%~${digest(escaped)}`
}

/** The hash tag of a limiter. It is never empty, nothing in it closes it early, and its last colon is ours. */
export const tagOf = (prefix: string, name: string): string =>
  `{${short(prefix)}:${short(name).replaceAll(":", escapeUnit(58))}}`

const fraction = (x: number): number => Math.floor((x - Math.floor(x)) * 2 ** 32)

const primes: ReadonlyArray<number> = Array.from({ length: 312 }, (_, i) => i).filter((n) =>
  n > 1 && !Array.from({ length: Math.floor(Math.sqrt(n)) - 1 }, (_, i) => i + 2).some((d) => n % d === 0)
).slice(0, 64)

const roundConstants = Uint32Array.from(primes, (prime) => fraction(Math.cbrt(prime)))
const start = Uint32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime)))

const rotate = (x: number, n: number): number => (x >>> n) | (x << (32 - n))

/** SHA-256 of an ASCII text, in hexadecimal. In here because keys are named without waiting, on any platform. */
export const digest = (text: string): string => {
  const bytes = padded(text)
  const state = Uint32Array.from(start)
  const words = new Uint32Array(64)
  for (let at = 0; at < bytes.length; at += 64) compress(state, words, new DataView(bytes.buffer, at, 64))
  return Array.from(state, (word) => word.toString(16).padStart(8, "0")).join("")
}

const padded = (text: string): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(Math.ceil((text.length + 9) / 64) * 64)
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i)
  bytes[text.length] = 0x80
  new DataView(bytes.buffer).setBigUint64(bytes.length - 8, BigInt(text.length) * 8n)
  return bytes
}

const compress = (state: Uint32Array, words: Uint32Array, block: DataView): void => {
  for (let i = 0; i < 16; i++) words[i] = block.getUint32(i * 4)
  for (let i = 16; i < 64; i++) {
    const x = words[i - 15]!
    const y = words[i - 2]!
    const mixedX = rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3)
    const mixedY = rotate(y, 17) ^ rotate(y, 19) ^ (y >>> 10)
    words[i] = words[i - 16]! + mixedX + words[i - 7]! + mixedY
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number]
  for (let i = 0; i < 64; i++) {
    const first = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + roundConstants[i]! +
      words[i]!
    const second = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))
    h = g
    g = f
    f = e
    e = (d + first) | 0
    d = c
    c = b
    b = a
    a = (first + second) | 0
  }
  for (const [i, value] of [a, b, c, d, e, f, g, h].entries()) state[i] = state[i]! + value
}
