import type { Problem } from '../api/problem'
import type { Command } from './me'
import { SignIn } from './SignIn'
import { useMe } from './useMe'

interface Props {
  problem: Problem
  /** What the visitor wanted to do, as in "sign in to comment". */
  command: Command
}

/** What a problem says to the visitor, and that nothing is lost. Who is not signed in gets the link for that. */
export function Refusal({ problem, command }: Props) {
  const { subject, ended, signIn } = useMe()
  if (problem.status !== 401 || !signIn) return <>{problem.detail} What you wrote is kept.</>
  const isOver = subject !== undefined || ended === true
  return (
    <>
      {isOver && 'Your session has ended. '}
      <SignIn>{isOver ? 'Sign in again' : `Sign in to ${command}`}</SignIn>: what you wrote is kept.
    </>
  )
}
