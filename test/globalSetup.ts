/** Runs once before the tests, also where vitest is started without `npm test`. */
import "../scripts/requireNode.mjs"

export default (): void => {}
