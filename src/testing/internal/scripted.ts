/** What a harness has of the scripts it was built with: whose model and handlers a run gets, and what they say of it afterwards. */
import * as LanguageModel from "effect/ai/LanguageModel"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import { TestModel } from "../TestModel.ts"
import { TestTools } from "../TestTools.ts"
import type { Failure } from "./expectations.ts"
import { describeReason } from "./TestToolsError.ts"
import type { Reason } from "./TestToolsError.ts"

/** What the model's script has against a run: turns left over, where none may be, and calls beyond it. */
export const turnsOf = (message: string, isLeft: boolean, isComplete: boolean): ReadonlyArray<Failure> =>
  isLeft && !isComplete ? [] : [{
    expected: "TestModel.assertComplete",
    happened: message +
      (isLeft ? "\nWhere a later execute is to play them: execute({ prompt, turnsLeft: \"allow\" })." : ""),
    calls: []
  }]

/**
 * What the tools' script has against a run: such a call was answered with a defect of the kit, as if its handler had a bug. Lists
 * that are not used up are the test's to ask about.
 */
export const unscriptedOf = (reasons: ReadonlyArray<Reason>): ReadonlyArray<Failure> => {
  const beyond = reasons.filter(({ _tag }) => _tag !== "ListLeft")
  return beyond.length === 0
    ? []
    : [{ expected: "TestTools: a behaviour for each call", happened: beyond.map(describeReason).join("\n"), calls: [] }]
}

/**
 * The model and the handlers of `context` that go before those of `own`. A script may be replaced by another one, and never by the
 * real thing: a test in an application does not ask its model.
 */
export const outsideOf = (toolkit: Toolkit.Any, context: Context.Context<never>, own: Context.Context<never>) => {
  const has = ({ key }: { readonly key: string }) => own.mapUnsafe.has(key)
  const keys = new Set([
    ...(has(TestModel) ? [] : [LanguageModel.LanguageModel.key, TestModel.key]),
    ...(has(TestTools) ? [] : [TestTools.key, ...Object.values(toolkit.tools).map(({ id }) => id)])
  ])
  return Context.makeUnsafe(new Map([...context.mapUnsafe].filter(([key]) => keys.has(key))))
}
