/**
 * A tape as a file: what was noted, without what is secret. Pure.
 *
 * Of the headers those are kept that an adapter reads; of a URL everything but its user, its fragment and the values
 * that are keys; of bodies everything but secrets and the tokens' probabilities, which repeat the text in bytes.
 */
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import * as Body from "./recordingBody.ts"
import { apiOf, parsed, version } from "./recordingFile.ts"
import type { Exchange, File } from "./recordingFile.ts"
import type { Secrets } from "./recordingSecrets.ts"
import type { Taken } from "./recordingTape.ts"
import { edited, percentDecoded } from "./recordingText.ts"

const keptOfRequest = /^(?:accept|content-type|openai-beta)$/
const keptOfResponse = new RegExp(`^(?:${
  [
    "content-type",
    "retry-after(?:-ms)?",
    "(?:x-)?ratelimit(?:-.*)?",
    "date",
    "x-request-id",
    "openai-(?:processing-ms|version|model)",
    "x-should-retry",
    "apim-request-id"
  ].join("|")
})$`)

/** How the run ended that was recorded. */
export type Run = NonNullable<File["run"]>

/** What is written. An interrupted run leaves out what it cut off, which is no answer. */
export const fileOf = (taken: ReadonlyArray<Taken>, secrets: Secrets, provider: string, run: Run): File => {
  for (const entry of taken) readSecrets(entry, secrets)
  for (const entry of taken) learnSecrets(entry, secrets)
  const ended = taken.filter((entry) => endingOf(entry) !== "open")
  const kept = run === "interrupted" ? ended.filter((entry) => endingOf(entry) !== "cancelled") : ended
  const exchanges = kept.map((entry) => exchangeOf(entry, secrets))
  const first = kept[0]
  return {
    version,
    provider,
    api: first === undefined ? "unknown" : apiOf(first.url) ?? "unknown",
    model: modelOf(exchanges[0]),
    run,
    ...(kept.length < taken.length ? { leftOut: taken.length - kept.length } : undefined),
    exchanges
  }
}

const modelOf = (exchange: Exchange | undefined): string => {
  const body = exchange?.request.bodyJson
  return typeof body === "object" && body !== null && "model" in body && typeof body.model === "string"
    ? body.model
    : "unknown"
}

// ---- where keys stand ----

const secretName =
  /auth|cookie|key|token|secret|password|passwd|credential|signature|^sig$|^code$|organization|project/i

const readSecrets = ({ answer, headers, url }: Taken, secrets: Secrets): void => {
  const read = (value: string, name: string): void => {
    if (!secretName.test(name)) return
    secrets.read(value)
    // `Bearer KEY`, `a=1; b=2`, `Basic BASE64`: each is more than its whole.
    for (const word of value.split(/[\s;,]+/)) {
      secrets.read(word)
      secrets.read(word.replace(/^[^=]*=/, ""))
    }
    const basic = /^Basic (\S+)$/i.exec(value)?.[1]
    if (basic !== undefined) secrets.read(Result.getOrElse(Base64.decodeString(basic), () => "").replace(/^[^:]*:/, ""))
  }
  headers.forEach(read)
  answer?.headers.forEach((value, name) => keptOfResponse.test(name) ? undefined : read(value, name))
  if (!URL.canParse(url)) return
  const { password, searchParams, username } = new URL(url)
  searchParams.forEach(read)
  for (const part of [username, password]) secrets.read(percentDecoded(part))
}

const learnSecrets = (entry: Taken, secrets: Secrets): void => {
  for (const body of [entry.body, piecesOf(entry).map(({ text }) => text).join("")]) {
    for (const { fragments } of Body.textsOf(body)) secrets.learn(fragments.map(({ value }) => value).join(""))
    secrets.learn(Body.withoutTexts(body))
  }
  secrets.learn(entry.url)
}

// ---- the parts of an exchange ----

const exchangeOf = (entry: Taken, secrets: Secrets): Exchange => {
  const body = cleaned([entry.body], secrets)[0] ?? ""
  const bodyJson = parsed(body)
  return {
    request: {
      method: entry.method,
      url: urlOf(entry.url, secrets),
      headers: headersOf(entry.headers, keptOfRequest, secrets),
      ...(bodyJson === undefined ? { body } : { bodyJson })
    },
    response: responseOf(entry, secrets)
  }
}

const responseOf = (entry: Taken, secrets: Secrets): Exchange["response"] => {
  const { answer } = entry
  const ending = endingOf(entry)
  const said = (text: string): string => cleaned([text], secrets)[0] ?? ""
  const failure = entry.failure.map(({ code, message, name }) => ({
    name: said(name),
    message: said(message),
    ...(code === undefined ? undefined : { code: said(code) })
  }))
  const ended = ending === "broken" || ending === "cancelled"
    ? { ending, ...(failure.length > 0 ? { failure } : undefined) }
    : undefined
  if (answer === undefined) return { afterMillis: Math.max(0, entry.endedAt - entry.at), ...ended }
  const headers = headersOf(answer.headers, keptOfResponse, secrets)
  if ("retry-after" in headers) headers["retry-after"] = waitOf(headers["retry-after"], answer.at)
  const head = { status: answer.status, headers }
  const pieces = piecesOf(entry)
  const texts = cleaned(pieces.map(({ text }) => text), secrets, true)
  if (ended !== undefined || /event-stream/.test(answer.headers.get("content-type") ?? "")) {
    const chunks = pieces.map(({ afterMillis }, index) => ({ afterMillis, text: texts[index] ?? "" }))
    return { afterMillis: Math.max(0, answer.at - entry.at), ...head, chunks, ...ended }
  }
  const body = texts.join("")
  const bodyJson = parsed(body)
  const whole = bodyJson === undefined ? { body } : { bodyJson }
  return { afterMillis: Math.max(0, entry.endedAt - entry.at), ...head, ...whole }
}

// Our side leaves as soon as it has read the provider's end mark: nothing is missing then.
const endingOf = (entry: Taken): Taken["ending"] => {
  if (entry.ending === "complete" || entry.ending === "broken" || !entry.isLeft()) return entry.ending
  const end = piecesOf(entry).map(({ text }) => text).join("").slice(-65536)
  const marked = /^data: ?\[DONE\]/m.test(end) || /"type": ?"response\.(?:completed|incomplete|failed)"/.test(end)
  return marked ? "complete" : "cancelled"
}

// The pieces as text: a character that was cut goes to the later one, and a line that was never finished is not said.
const piecesOf = (
  { answer, ending }: Taken
): ReadonlyArray<{ readonly afterMillis: number; readonly text: string }> => {
  if (answer === undefined) return []
  const decoder = new TextDecoder()
  const texts = answer.pieces.map(({ bytes }) => decoder.decode(bytes, { stream: true }))
  const tail = decoder.decode()
  if (tail !== "" && texts.length > 0) texts[texts.length - 1] += tail
  let before = answer.at
  const pieces: Array<{ readonly afterMillis: number; readonly text: string }> = []
  for (const [index, text] of texts.entries()) {
    if (text === "") continue
    const at = answer.pieces[index]?.at ?? before
    pieces.push({ afterMillis: Math.max(0, at - before), text })
    before = Math.max(before, at)
  }
  return ending === "complete" ? pieces : withoutTail(pieces)
}

const withoutTail = (
  pieces: ReadonlyArray<{ readonly afterMillis: number; readonly text: string }>
): ReadonlyArray<{ readonly afterMillis: number; readonly text: string }> => {
  const whole = pieces.map(({ text }) => text).join("")
  let end = whole.lastIndexOf("\n") + 1
  return pieces.flatMap(({ afterMillis, text }) => {
    const kept = text.slice(0, Math.max(0, end))
    end -= text.length
    return kept === "" ? [] : [{ afterMillis, text: kept }]
  })
}

const cleaned = (
  pieces: ReadonlyArray<string>,
  { find, placeholder }: Secrets,
  isAnswer = false
): ReadonlyArray<string> => {
  const unweighed = isAnswer ? edited(pieces, Body.logprobEdits(pieces.join(""))) : pieces
  const said = edited(unweighed, Body.editsOf(unweighed.join(""), find, placeholder))
  const rest = find(said.join(""))
  return edited(said, rest.map(({ end, secret, start }) => ({ start, end, text: placeholder(secret) })))
}

const urlOf = (text: string, secrets: Secrets): string => {
  if (!URL.canParse(text)) return cleaned([text], secrets)[0] ?? ""
  const url = new URL(text)
  url.username = ""
  url.password = ""
  url.hash = ""
  for (const name of new Set(url.searchParams.keys())) {
    if (secretName.test(name)) url.searchParams.set(name, secrets.placeholder(url.searchParams.get(name) ?? ""))
  }
  return cleaned([url.href], secrets)[0] ?? ""
}

const headersOf = (headers: Headers, kept: RegExp, secrets: Secrets): Record<string, string> => {
  const result: Record<string, string> = {}
  headers.forEach((value, name) => {
    if (kept.test(name)) result[name] = cleaned([value], secrets)[0] ?? ""
  })
  return result
}

// A date is a wait only at its own time.
const waitOf = (value: string | undefined, now: number): string => {
  const date = Date.parse(value ?? "")
  return value === undefined || /^\s*[\d.]+\s*$/.test(value) || Number.isNaN(date)
    ? value ?? ""
    : String(Math.max(0, Math.ceil((date - now) / 1000)))
}
