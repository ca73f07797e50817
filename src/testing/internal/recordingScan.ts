/**
 * The last look before a recording is written: does a secret still stand in it? It knows nothing of how secrets are
 * removed. Where the remover looks for the codes of a secret, this one takes the codes off the text. Pure.
 */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { textsOf } from "./recordingBody.ts"
import type { File } from "./recordingFile.ts"
import { piecesOf } from "./recordingFile.ts"
import { percentDecoded } from "./recordingText.ts"

interface Place {
  readonly name: string
  readonly text: string
}

/** Where a secret still stands, by its path in the file; nothing where the file is clean. */
export const placesOf = (file: File, secrets: ReadonlySet<string>): ReadonlyArray<string> => {
  const wanted = [...secrets].map((secret) => ({ secret, bytes: latin(secret) }))
  const found = new Set<string>()
  const clean = new Set<string>()
  for (const { name, text } of places(file)) {
    if (clean.has(text)) continue
    const views = viewsOf(text.replace(/\[redacted-\d+\]/g, "\0"))
    const closed = closedUp(views[0] ?? "")
    const stands = ({ bytes, secret }: typeof wanted[number]): boolean =>
      views.some((view) => view.includes(secret) || view.includes(bytes)) ||
      (secret.length >= longEnough && closed.includes(secret))
    if (wanted.some(stands)) {
      found.add(name)
    } else clean.add(text)
  }
  return [...found]
}

const places = (file: File): ReadonlyArray<Place> => [
  { name: "model", text: file.model },
  { name: "provider", text: file.provider },
  ...file.exchanges.flatMap((exchange, index) => {
    const { request, response } = exchange
    const name = `exchanges[${index}]`
    const body = piecesOf(exchange).map(({ text }) => text).join("")
    return [
      { name: `${name}.request.url`, text: request.url },
      ...headers(`${name}.request.headers`, request.headers),
      ...bodies(`${name}.request.body`, request.body ?? JSON.stringify(request.bodyJson) ?? ""),
      ...headers(`${name}.response.headers`, response.headers),
      ...bodies(`${name}.response`, body),
      ...(response.failure ?? []).map((failure) => ({
        name: `${name}.response.failure`,
        text: `${failure.name}\n${failure.message}\n${failure.code ?? ""}`
      }))
    ]
  })
]

const headers = (name: string, values: Readonly<Record<string, string>> | undefined): ReadonlyArray<Place> =>
  Object.entries(values ?? {}).map(([header, text]) => ({ name: `${name}.${header}`, text }))

const bodies = (name: string, body: string): ReadonlyArray<Place> => [
  { name, text: body },
  ...textsOf(body).map((said) => ({
    name: `${name}: ${said.name}`,
    text: said.fragments.map(({ value }) => value).join("")
  }))
]

// ---- the text, and what it says when its codes are taken off ----

// A code may stand in a code: a URL in a URL's query, base64 in base64.
const viewsOf = (text: string): ReadonlyArray<string> => {
  const once = decodedOnce(text)
  return [text, ...once, ...once.flatMap((view) => view === "" ? [] : decodedOnce(view))]
}

/** The shortest secret that is looked for with spaces and line ends in it: a short one stands in too many words. */
const longEnough = 16

const closedUp = (text: string): string => text.replace(/\\[nrt]|[\s\u200b]+/g, "")

const decodedOnce = (text: string): ReadonlyArray<string> => [
  text.includes("%") ? percentDecoded(text) : "",
  text.includes("%") && text.includes("+") ? percentDecoded(text.replaceAll("+", " ")) : "",
  text.includes("\\") ? unescaped(text) : "",
  ...(text.match(/[A-Za-z0-9+/_-]{10,}/g) ?? []).flatMap(base64Decoded),
  ...(text.match(/(?:[0-9A-Fa-f]{2}){8,}/g) ?? []).map(hexDecoded)
]

const unescaped = (text: string): string =>
  text.replace(/\\u([0-9A-Fa-f]{4})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
    .replace(/\\+(["\\/])/g, "$1").replace(/\\n/g, "\n").replace(/\\t/g, "\t").replace(/\\r/g, "\r")

// A secret within a longer code begins at any of four places.
const base64Decoded = (code: string): ReadonlyArray<string> => {
  const plain = code.replace(/-/g, "+").replace(/_/g, "/")
  return [0, 1, 2, 3].flatMap((from) => {
    const rest = plain.slice(from)
    const whole = rest.length % 4 === 1 ? rest.slice(0, -1) : rest
    return Option.toArray(Result.getSuccess(Result.try(() => atob(whole))))
  })
}

const hexDecoded = (code: string): string =>
  code.replace(/../g, (byte) => String.fromCharCode(Number.parseInt(byte, 16)))

// The bytes of a text, one character each, as base64 gives them back.
const latin = (text: string): string => String.fromCharCode(...new TextEncoder().encode(text))
