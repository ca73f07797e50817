/**
 * One call in a test's own words: what a scripted model asks for, and what a test expects. The same value serves for both.
 *
 * Only data. Parameters are as the model sends them (JSON, before decoding).
 */

/**
 * A call by its tool's name and its parameters as the model sends them. Without `params`: `{}` in a script, any parameters in an
 * expectation. Without `id`: the next of `call-1`, `call-2` ... in a script, any id in an expectation.
 *
 * @category models
 * @since 0.1.0
 */
export interface ToolCall {
  readonly _tag: "ToolCall"
  readonly name: string
  readonly params: unknown
  readonly id: string | undefined
}

/**
 * Writes down a call, to script it or to expect it.
 *
 * **Example** (Two calls)
 *
 * ```ts
 * import { ToolCall } from "effect-toolformer/Testing"
 *
 * ToolCall("web_search", { query: "effect" }).name // => "web_search"
 * ToolCall("web_search", { query: "effect" }, { id: "a" }).id // => "a"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const ToolCall = (name: string, params?: unknown, options?: { readonly id?: string | undefined }): ToolCall => ({
  _tag: "ToolCall",
  name,
  params,
  id: options?.id
})

/**
 * Whether a value is a {@link ToolCall}.
 *
 * @category guards
 * @since 0.1.0
 */
export const isToolCall = (value: unknown): value is ToolCall =>
  typeof value === "object" && value !== null && "_tag" in value && value._tag === "ToolCall"
