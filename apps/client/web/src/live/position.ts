/*
 * A position in the log as query writes it: its number, and where more is known the
 * log's id and the event's: "4/<log>/<event>". The ids of the stream are positions.
 */

/** The number in a position; undefined for what is none. */
export function numberIn(position: string | null | undefined): number | undefined {
  const number = /^\d+(?=\/|$)/.exec(position ?? '')?.[0]
  return number === undefined || !Number.isSafeInteger(Number(number)) ? undefined : Number(number)
}

/** The id of the log that a position is in, where it says so. */
export function logIn(position: string | undefined): string | undefined {
  return /^\d+\/([^/]+)\//.exec(position ?? '')?.[1]
}
