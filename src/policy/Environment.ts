/**
 * What policies and the engine read of a program's environment, by the same words: a value that makes no sense, and a name that
 * is no setting, are errors that say so. Not for users: their settings are each module's `layerConfig`.
 */
export { duration, number, refuseUnknown } from "./internal/environment.ts"
