/**
 * What both APIs share in lowering a prompt: files as URLs or data, tool results as text, our own options on a part.
 */
import type * as Prompt from "effect/ai/Prompt"
import * as Base64 from "effect/encoding/Base64"
import { field, record } from "./openAiJson.ts"
import type { Json } from "./openAiJson.ts"
import { provider } from "./openAiParts.ts"

/** Settings that both APIs have, under one name. What else a server takes goes into `body`. */
export interface Settings {
  readonly model: string
  readonly temperature?: number | undefined
  readonly topP?: number | undefined
  readonly maxOutputTokens?: number | undefined
  readonly reasoningEffort?: string | undefined
  readonly parallelToolCalls?: boolean | undefined
  readonly serviceTier?: string | undefined
  readonly body?: Readonly<Record<string, unknown>> | undefined
  /** Whether the server is the vendor's own, which knows the newest fields. */
  readonly vendor: boolean
}

/** A prompt that cannot be said on this wire. */
export interface Unsupported {
  readonly _tag: "Unsupported"
  readonly description: string
}

export const unsupported = (description: string): Unsupported => ({ _tag: "Unsupported", description })

/** Our options on a message part: what a decoder once wrote as metadata, or the user's own (`imageDetail`). */
export const optionsOf = (part: { readonly options: Prompt.ProviderOptions }): Json =>
  record(field(part.options, provider)) ?? {}

/** Where a file's bytes are. */
export type FileData =
  | { readonly _tag: "Url"; readonly url: string }
  | { readonly _tag: "Id"; readonly id: string }
  | { readonly _tag: "Data"; readonly base64: string; readonly url: string }

/** A file part's data: a URL, an id of a file at the provider (`file-…`), a data URL, base64 text, or bytes. */
export const fileData = (part: Prompt.FilePart): FileData => {
  const { data } = part
  if (data instanceof URL) return fromUrl(data.href)
  if (typeof data !== "string") return inline(mediaType(part), Base64.encode(data))
  if (/^(https?|data):/.test(data)) return fromUrl(data)
  return /^file-[A-Za-z0-9_-]+$/.test(data) ? { _tag: "Id", id: data } : inline(mediaType(part), data)
}

const fromUrl = (url: string): FileData => {
  const comma = url.startsWith("data:") ? url.indexOf(",") : -1
  return comma === -1 ? { _tag: "Url", url } : { _tag: "Data", base64: url.slice(comma + 1), url }
}

const inline = (type: string, base64: string): FileData => ({
  _tag: "Data",
  base64,
  url: `data:${type};base64,${base64}`
})

/** A file's media type; `image/*` is sent as JPEG, which the vendor reads whatever the image is. */
export const mediaType = (part: Prompt.FilePart): string => part.mediaType === "image/*" ? "image/jpeg" : part.mediaType

export const isImage = (part: Prompt.FilePart): boolean => part.mediaType.startsWith("image/")

/** A result as the text the model reads. */
export const resultText = (result: unknown): string =>
  typeof result === "string" ? result : JSON.stringify(result) ?? "null"

/** A call's params as argument text; text that was no object goes back as the model wrote it. */
export const paramsText = (params: unknown): string =>
  typeof params === "string" ? params : JSON.stringify(params ?? {})

/** The fields of a request; what the user put into `body` wins, and `undefined` there takes a field away. */
export const withBody = (fields: Json, settings: Settings): Json =>
  Object.fromEntries(Object.entries({ ...fields, ...settings.body }).filter(([, value]) => value !== undefined))
