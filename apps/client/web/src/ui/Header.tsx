import { Link } from 'wouter'
import { Button } from '@base-ui/react/button'
import { may } from '../people/me'
import { Session } from '../people/Session'
import { useMe } from '../people/useMe'
import { ConnectionStatus } from './ConnectionStatus'
import styles from './Header.module.css'
import { useTheme } from './theme'

export function Header() {
  const [theme, change] = useTheme()
  const isCrowded = may(useMe(), 'moderate')
  return (
    <header className={styles.header}>
      <div className={styles.bar} data-crowded={isCrowded}>
        <Link href="/" className={styles.name}>
          <svg className={styles.mark} viewBox="0 0 32 32" aria-hidden="true">
            <path d="M4 15a8 8 0 0 1 8-8h8a8 8 0 0 1 8 8v10a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2z" />
            <path className={styles.slot} d="M8 15a1.500 1.500 0 0 1 1.500-1.500h13a1.500 1.500 0 0 1 0 3h-13A1.500 1.500 0 0 1 8 15zm3 6h10v2H11z" />
          </svg>
          <span>Postbus</span>
        </Link>
        <ConnectionStatus />
        <Session />
        <Button className={styles.theme} onClick={change} aria-label={theme === 'dark' ? 'Switch to light theme' : 'Switch to dark theme'}>
          <svg viewBox="0 0 24 24" aria-hidden="true">
            {theme === 'dark' ? (
              <path d="M12 7a5 5 0 1 0 0 10 5 5 0 0 0 0-10zm0-5v2.500M12 19.500V22M2 12h2.500M19.500 12H22M4.900 4.900l1.800 1.800M17.300 17.300l1.800 1.800M4.900 19.100l1.800-1.800M17.300 6.700l1.800-1.800" />
            ) : (
              <path d="M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500z" />
            )}
          </svg>
        </Button>
      </div>
    </header>
  )
}
