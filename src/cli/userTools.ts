/** The tools of `--tools FILE`: a module that exports a `toolkit` and the `layer` of its handlers. */
import type { NodeServices } from "@effect/platform-node/NodeServices"
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import { firstLine, usage } from "./CommandError.ts"
import type { CommandError } from "./CommandError.ts"

/**
 * A toolkit and its handlers, types erased: the command learns them when it runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tools {
  readonly toolkit: Toolkit.Toolkit<Record<string, Tool.Any>>
  readonly layer: Layer.Layer<Tool.HandlersFor<Record<string, Tool.Any>>, unknown, NodeServices>
}

/**
 * Loads the module.
 *
 * **Errors** Bad usage when the file is missing, does not load, or lacks one of its two exports.
 *
 * @category loading
 * @since 0.1.0
 */
export const load = Effect.fnUntraced(
  function*(file: string): Effect.fn.Return<Tools, CommandError, FileSystem.FileSystem | Path.Path> {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const absolute = path.resolve(file)
    const info = yield* Effect.mapError(
      fs.stat(absolute),
      (error) => usage(`the tools file ${file} cannot be read: ${error.reason._tag}`)
    )
    if (info.type !== "File") {
      return yield* usage(`the tools file ${file} is not a file`)
    }
    const url = yield* Effect.orDie(path.toFileUrl(absolute))
    const module: unknown = yield* Effect.tryPromise({
      try: () => import(url.href),
      catch: (cause) => usage(`the tools file ${file} does not load: ${firstLine(cause)}`)
    })
    const { layer, toolkit } = module as { readonly toolkit?: unknown; readonly layer?: unknown }
    if (!isToolkit(toolkit)) {
      return yield* usage(`the tools file ${file} must export a toolkit (Toolkit.make(...)) as "toolkit"`)
    }
    if (!Layer.isLayer(layer)) {
      return yield* usage(`the tools file ${file} must export the Layer of the handlers as "layer"`)
    }
    return { toolkit: toolkit as Tools["toolkit"], layer: layer as unknown as Tools["layer"] }
  }
)

const isToolkit = (u: unknown): boolean =>
  (typeof u === "object" || typeof u === "function") && u !== null && "tools" in u && typeof u.tools === "object" &&
  u.tools !== null && "toLayer" in u
