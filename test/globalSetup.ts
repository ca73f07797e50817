/** Runs once before the tests, also when vitest is started without `npm test`. */
import * as NodeVersion from "../scripts/nodeVersion.ts"

export default NodeVersion.require
