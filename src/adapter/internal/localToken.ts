/**
 * A request as tokens: words, and the things with a shape of their own (quoted text, paths, addresses, dates, numbers,
 * identifiers), so that later steps never cut a path at its dot or a number at its comma. Linear, total.
 */
import { currencyOf, extensionOf, months, numberOf, openers, stopWords, weekdays } from "./localWords.ts"

export type TokenKind =
  | "quoted"
  | "url"
  | "email"
  | "path"
  | "date"
  | "time"
  | "number"
  | "identifier"
  | "word"
  | "mark"

export interface Token {
  readonly kind: TokenKind
  /** The value: without quotes, with a number's text made readable for `Number`. */
  readonly text: string
  /** As written. */
  readonly raw: string
  readonly start: number
  readonly end: number
  /** Written with a capital letter, and not merely because a sentence begins here. */
  readonly proper: boolean
}

const extension =
  "tsx?|jsx?|mjs|cjs|mts|cts|json|jsonc|ya?ml|toml|md|mdx|txt|csv|tsv|html?|css|scss|py|rs|go|java|kt|rb|php|c|h|cc|cpp|hpp|cs|swift|sh|sql|xml|pdf|docx?|xlsx?|png|jpe?g|svg|gif|lock|log|env|ini|conf|proto|lua|vue|svelte|zip|gz"

const pattern = new RegExp(
  [
    String.raw`(?<backtick>\x60[^\x60\n]+\x60)`,
    String.raw`(?<quoted>"[^"\n]+"|“[^”\n]+”|«[^»\n]+»|(?<![\p{L}\p{N}])['‘][^'’\n]+['’](?![\p{L}\p{N}]))`,
    String.raw`(?<url>https?:\/\/[^\s<>"']*[^\s<>"'.,;:!?)\]])`,
    String.raw`(?<email>[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[a-z]{2,})`,
    String.raw`(?<date>\d{4}-\d{2}-\d{2}(?![\d-]))`,
    String
      .raw`(?<path>(?:\.{1,2}|~)?\/[\w@.*{},+\/-]*[\w*}\/]|(?:[\w@.*+-]+\/)+(?:[\w@.*{}+-]*[\w*}])?|\*+\.[\w{},*]*[\w}]|[\w@-]+(?:[.*]+[\w-]+)*\.(?:` +
    extension + String.raw`)(?![\w])|\.(?:gitignore|env|npmrc|eslintrc|editorconfig)(?![\w]))`,
    String.raw`(?<time>\d{1,2}:\d{2}(?:\s?[ap]m)?|\d{1,2}\s?[ap]m(?![\w]))`,
    String
      .raw`(?<identifier>[A-Za-z_$][\w$.]*\(\)|#\d+|[A-Z][A-Z0-9]*-\d[\w-]*|(?=[\w$]*[\d_])[A-Za-z$][\w$]*_[\w$]*|[a-z$][a-z0-9$]*[A-Z][\w$]*|(?:[A-Z][a-z0-9]+){2,}|(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{7,40}(?![\w])|[A-Za-z]+\d+[\w-]*)`,
    String.raw`(?<number>(?<![\w])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e-?\d+(?![\w]))?)`,
    String.raw`(?<word>[\p{L}\p{N}_]+(?:['’.-](?=[\p{L}\p{N}])[\p{L}\p{N}_]+)*)`,
    String.raw`(?<mark>\n+|[.!?;:]+|[-+=*#@~\/\\]{2,}|[^\s])`
  ].join("|"),
  "gu"
)

const notPaths = new Set([
  "and/or",
  "his/her",
  "he/she",
  "km/h",
  "tcp/ip",
  "i/o",
  "n/a",
  "w/o",
  "24/7",
  "yes/no",
  "either/or"
])

/** Requests longer than this are read up to it; the model behind the planner reads a sentence, not a book. */
export const maxRequestLength = 20_000

// A request that stands in quotes as a whole is the request, not one quoted value.
const unquoted = (request: string): string => /^\s*"[^"]*"\s*$/.test(request) ? request.replaceAll("\"", " ") : request

export const tokenize = (request: string): ReadonlyArray<Token> => {
  const tokens: Array<Token> = []
  for (const match of unquoted(request.slice(0, maxRequestLength)).matchAll(pattern)) {
    const previous = tokens.at(-1)
    tokens.push(read(match, previous === undefined || (previous.kind === "mark" && /[.!?:;\n]/.test(previous.raw))))
  }
  return tokens.map((token, index) =>
    opensList(token, tokens[index + 1], tokens[index + 2]) ? { ...token, proper: true } : token
  )
}

// "Paris, Rome and Oslo: weather": a capital letter that opens the sentence is a name when a name follows in its list.
const opensList = (token: Token, next: Token | undefined, second: Token | undefined): boolean =>
  token.kind === "word" && !token.proper && /^\p{Lu}/u.test(token.text) && !isOrdinary(token.text.toLowerCase()) &&
  (next?.proper === true || (next !== undefined && /^(?:,|and|&)$/.test(next.raw) && second?.proper === true))

const isOrdinary = (lower: string): boolean =>
  openers.has(lower) || stopWords.has(lower) || isCalendarWord(lower) || extensionOf(lower) !== undefined

const read = (match: RegExpMatchArray, opening: boolean): Token => {
  const [kind, raw] = Object.entries(match.groups!).find(([, text]) => text !== undefined)!
  const at = { raw, start: match.index!, end: match.index! + raw.length }
  switch (kind) {
    case "backtick":
    case "quoted":
      return { kind: "quoted", text: raw.slice(1, -1), proper: false, ...at }
    case "number":
      return { kind: "number", text: raw.replaceAll(",", ""), proper: false, ...at }
    case "path":
      return { kind: notPaths.has(raw.toLowerCase()) ? "word" : "path", text: raw, proper: false, ...at }
    case "identifier": {
      // A language's name in camel case is a word (TypeScript), and so is a name such as McDonald at a person's place.
      const word = extensionOf(raw) !== undefined
      return {
        kind: word ? "word" : "identifier",
        text: raw.replace(/\(\)$/, ""),
        proper: !word && /^[A-Z]/.test(raw),
        ...at
      }
    }
    case "word": {
      const text = raw.replace(/['’]s$/i, "")
      return { kind: "word", text, proper: isProper(text, raw, opening), ...at }
    }
    default:
      return { kind: kind as TokenKind, text: raw, proper: false, ...at }
  }
}

const isProper = (text: string, raw: string, opening: boolean): boolean => {
  if (!/^\p{Lu}/u.test(text)) return false
  const lower = text.toLowerCase()
  if (lower === "i" || lower.startsWith("i'") || isOrdinary(lower)) return false
  return !opening || raw !== text || text === text.toUpperCase()
}

export const isCalendarWord = (word: string): boolean => {
  const lower = word.toLowerCase()
  return months.includes(lower) || weekdays.includes(lower) || calendar.has(lower)
}

const calendar: ReadonlySet<string> = new Set([
  "today",
  "tomorrow",
  "yesterday",
  "tonight",
  "weekend",
  "week",
  "month",
  "year"
])

/** Whether a token stands for a thing rather than for an instruction. */
export const isValue = (token: Token): boolean =>
  token.kind === "word"
    ? token.proper || numberOf(token.text) !== undefined ||
      (currencyOf(token.text) !== undefined && token.text === token.text.toUpperCase())
    : token.kind !== "mark"
