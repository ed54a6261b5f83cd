/**
 * Guarded models of `effect/ai`: `LanguageModel` and `EmbeddingModel`.
 *
 * @since 0.1.0
 */

/** `EmbeddingModel`, guarded. */
export * as GuardedEmbeddingModel from "./GuardedEmbeddingModel.ts"

/** `LanguageModel`, guarded. */
export * as GuardedLanguageModel from "./GuardedLanguageModel.ts"
