import type { Problem } from '../api/problem'
import type { Command } from './me'
import { SignIn } from './SignIn'
import { useMe } from './useMe'

interface Props {
  problem: Problem
  /** What the visitor wanted to do, as in "sign in to comment". */
  command: Command
  /** Whether the visitor has written something for it. */
  isWriting?: boolean
}

/** What a problem says to the visitor, and that nothing which they wrote is lost. Who is not signed in gets the link for that. */
export function Refusal({ problem, command, isWriting = true }: Props) {
  const { subject, ended, signIn } = useMe()
  if (problem.status !== 401 || !signIn) return <>{isWriting ? `${problem.detail} What you wrote is kept.` : problem.detail}</>
  const isOver = subject !== undefined || ended === true
  return (
    <>
      {isOver && 'Your session has ended. '}
      <SignIn>{isOver ? 'Sign in again' : `Sign in to ${command}`}</SignIn>
      {isWriting ? ': what you wrote is kept.' : '.'}
    </>
  )
}
