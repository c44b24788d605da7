import { Link } from 'wouter'

/** The page of an address that there is not. */
export function NothingHere() {
  return (
    <>
      <h1>There is nothing here</h1>
      <p>
        <Link href="/">All posts</Link>
      </p>
    </>
  )
}
