/**
 * Names and ids that the wire accepts, both ways. OpenAI takes tool names of `[a-zA-Z0-9_-]{1,64}` and short call ids; ours may
 * be anything (dots, spaces, 10 kB, nothing). Names that fit stay; the others get one that fits, is the same in every
 * request, and is nobody else's.
 */

const fitting = /^[a-zA-Z0-9_-]{1,64}$/

/** Our name to the wire's, and back. */
export interface Names {
  readonly toWire: (name: string) => string
  readonly fromWire: (wire: string) => string
}

/**
 * The names of one request. `declared` are the tools offered: only their names are mapped back, so that a name the model
 * made up reaches the engine as the model wrote it.
 */
export const make = (declared: ReadonlyArray<string>): Names => {
  const wires = new Map<string, string>()
  const originals = new Map<string, string>()
  const take = (name: string, wire: string): string => {
    wires.set(name, wire)
    originals.set(wire, name)
    return wire
  }
  for (const name of declared) if (fitting.test(name)) take(name, name)
  const toWire = (name: string): string => {
    const known = wires.get(name)
    if (known !== undefined) return known
    if (fitting.test(name) && !originals.has(name)) return take(name, name)
    const plain = name.replace(/[^a-zA-Z0-9_-]/g, "_")
    if (fitting.test(plain) && !originals.has(plain)) return take(name, plain)
    for (let n = 0;; n++) {
      const wire = shorten(name, 64, n)
      if (!originals.has(wire)) return take(name, wire)
    }
  }
  for (const name of declared) toWire(name)
  const offered = new Map(declared.map((name) => [toWire(name), name]))
  return { toWire, fromWire: (wire) => offered.get(wire) ?? wire }
}

/** Call ids of one request: as they are where they fit `maxLength`, else a short one that is nobody else's. */
export const ids = (maxLength: number): (id: string) => string => {
  const wires = new Map<string, string>()
  const taken = new Set<string>()
  return (id) => {
    const known = wires.get(id)
    if (known !== undefined) return known
    let wire = id !== "" && id.length <= maxLength ? id : shorten(id, maxLength, 0)
    for (let n = 1; taken.has(wire); n++) wire = shorten(id, maxLength, n)
    wires.set(id, wire)
    taken.add(wire)
    return wire
  }
}

const shorten = (name: string, maxLength: number, n: number): string => {
  const tail = hash(`${n}:${name}`)
  const head = name.slice(0, maxLength).replace(/[^a-zA-Z0-9_-]/g, "_").slice(0, maxLength - tail.length - 1)
  return `${head}_${tail}`
}

// Two rounds of FNV-1a, 64 bits as hexadecimal. Only shortens; uniqueness is checked by the caller.
const hash = (text: string): string => {
  let a = 0x811c9dc5
  let b = 0x01000193
  for (let i = 0; i < text.length; i++) {
    a = Math.imul(a ^ text.charCodeAt(i), 0x01000193)
    b = Math.imul(b ^ text.charCodeAt(i), 0x5bd1e995) ^ (a >>> 13)
  }
  return (a >>> 0).toString(16).padStart(8, "0") + (b >>> 0).toString(16).padStart(8, "0")
}
