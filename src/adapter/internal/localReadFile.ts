/** Readers of what names files: paths, folders, globs and extensions. */
import { each, first, lower, type Reader } from "./localReading.ts"
import type { Token } from "./localToken.ts"
import * as Words from "./localWords.ts"

const hasWildcard = (text: string): boolean => /[*{]/.test(text)
const hasExtension = (text: string): boolean => /[^/]\.[A-Za-z0-9]+$/.test(text) || /(?:^|\/)\.[A-Za-z]+$/.test(text)

export const file: Reader = (_slot, reading) =>
  each(reading, (token, index) => {
    if (token.kind === "path") return hasWildcard(token.text) ? undefined : token.text
    if (
      token.kind === "quoted" && /[./]/.test(token.text) && !/\s/.test(token.text) && !hasWildcard(token.text)
    ) return token.text
    return isExtensionless(token, reading.tokens[index + 1]) ? token.text : undefined
  })

const isExtensionless = (token: Token, next: Token | undefined): boolean =>
  /^(?:README|LICENSE|CHANGELOG|CONTRIBUTING|Makefile|Dockerfile)$/.test(token.text) && next?.raw !== "."

export const directory: Reader = (_slot, reading) =>
  each(reading, (token, index) => {
    const before = lower(reading.tokens[index - 1])
    const after = lower(reading.tokens[index + 1])
    const named = /^(?:folder|directory|dir|folders|directories)$/
    if (token.kind === "path") return hasWildcard(token.text) || hasExtension(token.text) ? undefined : token.text
    if (token.kind === "quoted") return named.test(after) || named.test(before) ? token.text : undefined
    if (token.kind !== "word" && token.kind !== "identifier") return undefined
    if (named.test(after) && !vague.has(lower(token))) return token.text
    const placed = ["in", "under", "inside", "within", "from", "of", "across"].includes(before)
    return placed && (Words.folders.has(lower(token)) || (before === "under" && !vague.has(lower(token))))
      ? token.text
      : undefined
  })

const vague: ReadonlySet<string> = new Set([
  "the",
  "this",
  "that",
  "a",
  "an",
  "current",
  "whole",
  "entire",
  "same",
  "each",
  "every",
  "any",
  "all",
  "working",
  "my",
  "our",
  "which"
])

export const glob: Reader = first(
  (_slot, reading) =>
    each(
      reading,
      (token) => (token.kind === "path" || token.kind === "quoted") && hasWildcard(token.text) ? token.text : undefined
    ),
  (_slot, reading) =>
    each(reading, (token) => {
      const found = extensionWord(token)
      return found === undefined ? undefined : `**/*.${found}`
    })
)

export const extension: Reader = (_slot, reading) =>
  each(reading, (token) => {
    const written = /^\*?\.([A-Za-z0-9]{1,6})$/.exec(token.text)
    return written === null ? extensionWord(token) : written[1]
  })

/** The extension that a word stands for. */
export const extensionWord = (token: Token): string | undefined =>
  token.kind === "word" || token.kind === "identifier" ? Words.extensionOf(token.text) : undefined
