/**
 * Which places of a text are secret: the secrets that are known, as they are and in the codes in which they travel, and
 * texts of the shape of a token. Pure but for its memory: a secret found once is known from then on, and has one
 * placeholder everywhere.
 */
import * as Base64 from "effect/encoding/Base64"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Hex from "effect/encoding/Hex"
import type { Span } from "./recordingText.ts"

/** The shortest secret that is looked for in texts when it was read from a header or a URL: `none` is no key. */
const shortestRead = 8

/** The shortest that a user may name: a shorter one stands in every text. */
export const shortestNamed = 4

const free = "(?<![A-Za-z0-9])"

/** Texts of the shape of a token. Providers quote the keys they were sent, and tools print their own. */
const shapes: ReadonlyArray<RegExp> = [
  `${free}(?:sk|rk|pk)[-_][A-Za-z0-9_*-]{12,}`,
  `${free}gh[opusr]_[A-Za-z0-9]{16,}`,
  `${free}github_pat_[A-Za-z0-9_]{16,}`,
  `${free}glpat-[A-Za-z0-9_-]{16,}`,
  `${free}(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])`,
  `${free}AIza[A-Za-z0-9_-]{30,}`,
  `${free}ya29\\.[A-Za-z0-9_-]{20,}`,
  `${free}xox[abcdeoprs]-[A-Za-z0-9-]{8,}`,
  `${free}xapp-[A-Za-z0-9-]{8,}`,
  `${free}(?:hf|npm|gsk)_[A-Za-z0-9]{20,}`,
  `${free}(?:xai|pplx)-[A-Za-z0-9]{20,}`,
  `${free}(?:org-|proj_)[A-Za-z0-9]{16,}`,
  `${free}eyJ[A-Za-z0-9_-]{6,}\\.[A-Za-z0-9_-]{6,}\\.[A-Za-z0-9_-]*`,
  "-----BEGIN [A-Z0-9 ]+-----[^]*?(?:-----END [A-Z0-9 ]+-----|$)",
  "(?<=\\b[Bb]earer[ \\t]{1,4})[A-Za-z0-9._~+/=-]{8,}"
].map((source) => new RegExp(source, "g"))

/** What a user adds: texts, and patterns whose every match is secret. */
interface Named {
  readonly texts: ReadonlyArray<string>
  readonly patterns: ReadonlyArray<RegExp>
}

export class Secrets {
  private readonly forms = new Map<string, string>()
  private readonly patterns: ReadonlyArray<RegExp>
  private readonly numbers = new Map<string, number>()
  // Short texts in which nothing was found: a stream says the same names and ids in every event.
  private readonly clean = new Set<string>()
  /** Every secret so far. */
  readonly known = new Set<string>()

  constructor(named: Named) {
    this.patterns = [
      ...shapes,
      ...named.patterns.map(({ flags, source }) => new RegExp(source, `${flags.replace(/[gy]/g, "")}g`))
    ]
    for (const text of named.texts) this.add(text)
  }

  /** From now on this is a secret. */
  add(secret: string): void {
    if (this.known.has(secret)) return
    this.known.add(secret)
    this.clean.clear()
    for (const form of formsOf(secret)) if (!this.forms.has(form)) this.forms.set(form, secret)
  }

  /** As {@link add}, for what was read where keys use to stand. */
  read(secret: string): void {
    if (secret.length >= shortestRead) this.add(secret)
  }

  /** The secret places of a text, in order and without overlap. */
  readonly find = (text: string): ReadonlyArray<Span> => {
    if (this.clean.has(text)) return []
    const spans: Array<Span> = []
    for (const [form, secret] of this.forms) {
      for (let at = text.indexOf(form); at >= 0; at = text.indexOf(form, at + 1)) {
        spans.push({ start: at, end: at + form.length, secret })
      }
      const begun = beginningAtEnd(text, form)
      if (begun > 0) spans.push({ start: text.length - begun, end: text.length, secret })
    }
    for (const pattern of this.patterns) {
      for (const match of text.matchAll(pattern)) {
        if (match[0] === "") continue
        spans.push({
          start: match.index,
          end: match.index + match[0].length,
          secret: this.forms.get(match[0]) ?? match[0]
        })
      }
    }
    if (spans.length === 0 && text.length <= 100) this.clean.add(text)
    return merged(spans)
  }

  /** Finds, and remembers what only its shape gave away. */
  learn(text: string): void {
    for (const { end, secret, start } of this.find(text)) {
      this.add(this.known.has(secret) ? secret : text.slice(start, end))
    }
  }

  readonly placeholder = (secret: string): string => {
    const number = this.numbers.get(secret) ?? this.numbers.size + 1
    this.numbers.set(secret, number)
    return `[redacted-${number}]`
  }
}

// How much of a secret stands at the end of a text that was cut off within it.
const beginningAtEnd = (text: string, form: string): number => {
  if (text.length < shortestRead || !form.includes(text.slice(-shortestRead))) return 0
  for (let length = Math.min(form.length - 1, text.length); length >= shortestRead; length--) {
    if (text.endsWith(form.slice(0, length))) return length
  }
  return 0
}

// A secret as it stands inside JSON, JSON in JSON, a URL, a URL in a URL, base64, hexadecimal digits.
const formsOf = (secret: string): ReadonlySet<string> => {
  const escaped = JSON.stringify(secret).slice(1, -1)
  const percent = encodeURIComponent(secret.toWellFormed())
  const forms = new Set([secret, escaped, JSON.stringify(escaped).slice(1, -1), percent, encodeURIComponent(percent)])
  if (secret.length >= shortestRead) {
    const hex = Hex.encode(secret)
    forms.add(hex).add(hex.toUpperCase())
    for (const code of [Base64.encode(secret), Base64Url.encode(secret)]) forms.add(code).add(code.replace(/=+$/, ""))
  }
  return forms
}

// Places that overlap are one, named after the longest of them.
const merged = (spans: ReadonlyArray<Span>): ReadonlyArray<Span> => {
  const result: Array<Span & { longest: number }> = []
  for (const span of [...spans].sort((a, b) => a.start - b.start || b.end - a.end)) {
    const last = result.at(-1)
    const length = span.end - span.start
    if (last === undefined || span.start >= last.end) result.push({ ...span, longest: length })
    else {
      const longer = length > last.longest ? { secret: span.secret, longest: length } : undefined
      result[result.length - 1] = { ...last, end: Math.max(last.end, span.end), ...longer }
    }
  }
  return result
}
