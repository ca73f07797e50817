/**
 * How often each thing was seen: whole-number names to counts, in flat arrays of a fixed size. When 32,768 names are counted all
 * counts are halved and those below one forgotten, so what is rare or long ago makes room. Sixteen pages hold the table as text,
 * and it knows which have changed.
 */
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"

const slots = 65_536
const limit = 32_768
const entryBytes = 8
const most = 2 ** 24

/** How many pages a table is kept in. */
export const countPages = 16

const pageOf = (key: number): number => key >>> 28

export class Counts {
  private keys = new Int32Array(slots)
  private values = new Float32Array(slots)
  private used = 0
  private readonly changed = new Set<number>()

  /** How many names are counted. */
  get size(): number {
    return this.used
  }

  private slot(key: number): number {
    let at = (key ^ (key >>> 16)) & (slots - 1)
    while (this.values[at] !== 0 && this.keys[at] !== key) at = (at + 1) & (slots - 1)
    return at
  }

  get(key: number): number {
    return this.values[this.slot(key)]!
  }

  add(key: number, times = 1): void {
    if (!(times > 0)) return
    const at = this.slot(key)
    const before = this.values[at]!
    this.keys[at] = key
    this.values[at] = before + times
    this.changed.add(pageOf(key))
    if (before === 0 && ++this.used >= limit) this.halve()
  }

  /** Halves every count and forgets those below one; halves again while the table is still more than three quarters full. */
  private halve(): void {
    const { keys, values } = this
    this.keys = new Int32Array(slots)
    this.values = new Float32Array(slots)
    this.used = 0
    for (let at = 0; at < slots; at++) if (values[at]! >= 2) this.put(keys[at]!, values[at]! / 2)
    for (let page = 0; page < countPages; page++) this.changed.add(page)
    if (this.used > limit * 0.75) this.halve()
  }

  private put(key: number, value: number): void {
    const at = this.slot(key)
    if (this.values[at] === 0) this.used++
    this.keys[at] = key
    this.values[at] = value
  }

  /** Which pages have changed since the last time this was asked. */
  takeChanged(): ReadonlyArray<number> {
    const pages = [...this.changed].sort((a, b) => a - b)
    this.changed.clear()
    return pages
  }

  /** The counts of a page, in the order of their names. */
  page(page: number): string {
    const here: Array<number> = []
    for (let at = 0; at < slots; at++) {
      if (this.values[at] !== 0 && pageOf(this.keys[at]!) === page) here.push(this.keys[at]!)
    }
    here.sort((a, b) => a - b)
    const bytes = new DataView(new ArrayBuffer(here.length * entryBytes))
    here.forEach((key, i) => {
      bytes.setInt32(i * entryBytes, key, true)
      bytes.setFloat32(i * entryBytes + 4, this.get(key), true)
    })
    return Base64.encode(new Uint8Array(bytes.buffer))
  }

  /** Reads a page back; false, and nothing read, where it is not one. */
  readPage(page: number, text: string): boolean {
    const decoded = Result.getOrElse(Base64.decode(text), () => undefined)
    if (decoded === undefined || decoded.length % entryBytes !== 0) return false
    const bytes = new DataView(decoded.buffer, decoded.byteOffset, decoded.length)
    const entries: Array<readonly [number, number]> = []
    for (let at = 0; at < decoded.length; at += entryBytes) {
      const [key, value] = [bytes.getInt32(at, true), bytes.getFloat32(at + 4, true)]
      if (!(value > 0 && value <= most) || pageOf(key) !== page) return false
      entries.push([key, value])
    }
    if (this.used + entries.length >= limit) return false
    for (const [key, value] of entries) this.put(key, value)
    return true
  }
}
