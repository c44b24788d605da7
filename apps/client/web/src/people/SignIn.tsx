import { useLocation, useSearch } from 'wouter'
import { signInPath } from './me'

/** The link that signs in and leads back to this page. It leaves the page: the issuer's comes next. */
export function SignIn({ children = 'Sign in' }: { children?: string }) {
  const [path] = useLocation()
  const search = useSearch()
  return <a href={signInPath(search === '' ? path : `${path}?${search}`)}>{children}</a>
}
