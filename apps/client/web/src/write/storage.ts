/*
 * Values that the browser keeps for the visitor. A browser may refuse to keep them (private mode, full disk),
 * and a stored value may come from an older version. Then there is no value.
 */

/** Reads a stored value, if it has the expected form. */
export function recall<T>(storage: 'localStorage' | 'sessionStorage', name: string, isExpected: (value: unknown) => value is T): T | undefined {
  try {
    const value: unknown = JSON.parse(window[storage].getItem(`postbus:${name}`) ?? 'null')
    return isExpected(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** Stores a value, or removes it if it is undefined. */
export function keep(storage: 'localStorage' | 'sessionStorage', name: string, value: unknown): void {
  try {
    if (value === undefined) window[storage].removeItem(`postbus:${name}`)
    else window[storage].setItem(`postbus:${name}`, JSON.stringify(value))
  } catch {
    // Storage is a convenience: the page works without it.
  }
}

export function isString(value: unknown): value is string {
  return typeof value === 'string'
}

/** Whether a value is an object whose members are all strings. */
export function isTexts(value: unknown): value is Record<string, string> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.values(value).every(isString)
}

export function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(isString)
}
