import { request } from '../api/http'

/** What somebody may do beside reading. */
export type Command = 'post' | 'comment' | 'moderate'

/** Who the visitor is, as the host says it. */
export interface Me {
  /** The name of a person who is signed in. The issuer may give none. */
  name?: string
  /** The pseudonym of a person who is signed in. A guest has none. */
  subject?: string
  may: Command[]
  /** Whether one can sign in here. */
  signIn: boolean
  /** The visitor was signed in, and the session has ended. */
  ended?: boolean
}

/** The visitor as long as the host does not say more: somebody who reads, and may try to write. */
export const unknown: Me = { may: ['post', 'comment'], signIn: false }

/** Asks the host who the visitor is. It also gives guests the cookie that their first post or comment needs. */
export async function readMe(before: Me | undefined, signal: AbortSignal): Promise<Me> {
  return after(before, (await request<Me>('/me', { cache: 'no-store', signal })).value)
}

/** An answer after an earlier one. Once a session has ended, that stays so until somebody signs in. */
export function after(before: Me | undefined, me: Me): Me {
  const wasSignedIn = before !== undefined && (before.subject !== undefined || before.ended === true)
  return me.subject === undefined && wasSignedIn ? { ...me, ended: true } : me
}

/** Whether the visitor may do something. A service that is newer than the page may allow more. */
export function may(me: Me, command: Command): boolean {
  return me.may.includes(command)
}

/** Whether something belongs to the visitor. The author of a comment that is withheld is not known. */
export function isMine(authorId: string | undefined, me: Me): boolean | undefined {
  return authorId === undefined || me.subject === undefined ? undefined : authorId === me.subject
}

/** The address at which one signs in, and which leads back to a path. */
export function signInPath(back: string): string {
  return `/auth/sign-in?return=${encodeURIComponent(back)}`
}
