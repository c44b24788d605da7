/** Why somebody who wanted to sign in is back without a session. */
export type Failure = 'failed' | 'unavailable' | 'denied' | 'late'

export const failureTexts: Record<Failure, string> = {
  failed: 'Signing in did not work. Try again.',
  unavailable: 'Signing in is not possible right now. Try again later. You can read on meanwhile.',
  denied: 'You are not signed in: it was cancelled or refused.',
  late: 'Signing in took too long. Try again.',
}

/** The parameter by which the host says it. */
const parameter = 'sign-in'

/** The failure in the query of an address, and the query without it. A failure of a newer host counts as the general one. */
export function failureIn(search: string): { failure: Failure | undefined; rest: string } {
  const parameters = new URLSearchParams(search)
  const said = parameters.get(parameter)
  if (said === null) return { failure: undefined, rest: search }
  parameters.delete(parameter)
  const rest = parameters.toString()
  return { failure: Object.hasOwn(failureTexts, said) ? (said as Failure) : 'failed', rest: rest === '' ? '' : `?${rest}` }
}

/** Takes the failure out of the page's address, so that a reload does not show it again. */
export function takeFailure(): Failure | undefined {
  const { pathname, search, hash } = window.location
  const { failure, rest } = failureIn(search)
  if (failure !== undefined) window.history.replaceState(window.history.state, '', `${pathname}${rest}${hash}`)
  return failure
}
